"""Fragments of animals that no edge connects: joined as brute force joins them, and left apart where that is known."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.codecs.limb_lengths import TypicalDistances, empty_statistics, typical_distances, update_statistics
from dlcpose.codecs.paf_fragments import (
    MAX_DEVIATIONS,
    MAX_FRAGMENTS,
    MAX_MEAN_SQUARE,
    MIN_UNLINKED,
    NONE,
    join_fragments,
)

KEYPOINTS = 6
CHAIN = tuple(itertools.pairwise(range(KEYPOINTS)))
NAN = float("nan")


def template(rng: np.random.Generator) -> np.ndarray:
    """A pose (K, 2) px, of which no two keypoints are near."""
    return np.stack((20.0 * np.arange(KEYPOINTS), rng.uniform(-30, 30, KEYPOINTS)), axis=1)


def turned(pose: np.ndarray, angle: float) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (pose - pose.mean(axis=0)) @ turn


def learned_from(poses: np.ndarray) -> TypicalDistances:
    statistics = update_statistics(empty_statistics(poses.shape[1]), torch.tensor(poses, dtype=torch.float32)[None])
    return typical_distances(statistics)


def scene(seed: int, animals: int, apart: float) -> tuple[np.ndarray, np.ndarray, TypicalDistances]:
    """Candidates (K, N, 2) px and scores (K, N), the n-th of each keypoint of animal n, and what training poses tell."""
    rng = np.random.default_rng(seed)
    usual = template(rng)
    poses = np.stack([turned(usual + rng.normal(0, 1, usual.shape), rng.uniform(0, 6.3)) for _ in range(animals)])
    poses += apart * np.stack((np.arange(animals), rng.uniform(-0.2, 0.2, animals)), axis=1)[:, None]
    training = np.stack([turned(usual + rng.normal(0, 2, usual.shape), rng.uniform(0, 6.3)) for _ in range(60)])
    return (
        poses.transpose(1, 0, 2).astype(np.float32),
        rng.uniform(0.2, 1, (KEYPOINTS, animals)),
        learned_from(training),
    )


def fragments_of(animals: int, seen: np.ndarray, edges: tuple[tuple[int, int], ...]) -> np.ndarray:
    """(M, K): each animal in the parts that edges between its seen keypoints connect; keypoint k of animal n is place n."""
    members = []
    for animal in range(animals):
        parts = [{keypoint} for keypoint in np.flatnonzero(seen[animal])]
        for first, second in edges:
            holding = [part for part in parts if part & {first, second}]
            if len(holding) == 2:
                parts = [part for part in parts if part not in holding] + [holding[0] | holding[1]]
        members += [[animal if keypoint in part else NONE for keypoint in range(KEYPOINTS)] for part in parts]
    return np.array(members, np.int64).reshape(-1, KEYPOINTS)


def rows(members: np.ndarray) -> list[list[int]]:
    return sorted(members.tolist())


def brute_force(members: np.ndarray, points: np.ndarray, typical: TypicalDistances) -> np.ndarray:
    """The same, with the cost of each pair of fragments computed anew in every round."""
    groups = [(row.copy(), (row != NONE).sum() > 1, [row]) for row in members]

    def cost(one: np.ndarray, other: np.ndarray) -> float:
        firsts, seconds = np.flatnonzero(one != NONE), np.flatnonzero(other != NONE)
        both = list(itertools.product(firsts, seconds))
        if any(first == second or tuple(sorted((first, second))) in CHAIN for first, second in both):
            return np.inf
        far = np.array([np.linalg.norm(points[a, one[a]] - points[b, other[b]]) for a, b in both])
        usual = np.array([[typical.mean[a, b], typical.deviation[a, b]] for a, b in both])
        deviations = np.abs(far - usual[:, 0]) / usual[:, 1]
        mean = float((deviations**2).mean())
        implausible = deviations.max() > MAX_DEVIATIONS or mean > MAX_MEAN_SQUARE
        return np.inf if implausible else mean / (len(firsts) + len(seconds))

    while True:
        costs = {
            pair: cost(groups[pair[0]][0], groups[pair[1]][0]) for pair in itertools.combinations(range(len(groups)), 2)
        }
        if not costs or min(costs.values()) == np.inf:
            break
        (first, second), _ = min(costs.items(), key=lambda item: item[1])
        one, other = groups[first], groups.pop(second)
        groups[first] = np.maximum(one[0], other[0]), one[1] or other[1], one[2] + other[2]
    result = []
    for whole, has_link, parts in groups:
        result += [whole] if has_link or len(parts) >= MIN_UNLINKED * KEYPOINTS else parts
    return np.array(result)


@given(seed=st.integers(0, 10**6), animals=st.integers(1, 4), hidden=st.sampled_from([0.0, 0.3, 0.5]))
def test_animals_far_from_each_other_are_whole_again(seed: int, animals: int, hidden: float) -> None:
    points, scores, typical = scene(seed, animals, apart=1000.0)
    seen = np.random.default_rng(seed).random((animals, KEYPOINTS)) >= hidden
    members = fragments_of(animals, seen, CHAIN)
    joined = join_fragments(members, points, scores, CHAIN, typical)
    for animal in range(animals):
        parts = members[(members == animal).any(axis=1)]
        whole = np.where(seen[animal], animal, NONE)
        is_certain = (parts != NONE).sum(axis=1).max(initial=0) > 1 or seen[animal].sum() >= MIN_UNLINKED * KEYPOINTS
        expected = [whole] if is_certain and len(parts) else parts
        assert rows(joined[(joined == animal).any(axis=1)]) == rows(np.array(expected))


@given(seed=st.integers(0, 10**6), animals=st.integers(1, 4), apart=st.sampled_from([5.0, 40.0, 150.0]))
def test_fragments_are_joined_as_by_brute_force(seed: int, animals: int, apart: float) -> None:
    points, scores, typical = scene(seed, animals, apart)
    seen = np.random.default_rng(seed).random((animals, KEYPOINTS)) >= 0.4
    members = fragments_of(animals, seen, CHAIN)
    joined = join_fragments(members, points, scores, CHAIN, typical)
    assert rows(joined) == rows(brute_force(members, points, typical).reshape(-1, KEYPOINTS))


@given(seed=st.integers(0, 10**6), animals=st.integers(1, 5), apart=st.sampled_from([5.0, 40.0, 1000.0]))
def test_every_candidate_stays_in_exactly_one_animal(seed: int, animals: int, apart: float) -> None:
    points, scores, typical = scene(seed, animals, apart)
    seen = np.random.default_rng(seed).random((animals, KEYPOINTS)) >= 0.4
    members = fragments_of(animals, seen, CHAIN)
    joined = join_fragments(members, points, scores, CHAIN, typical)
    for keypoint in range(KEYPOINTS):
        places = [animals_of[animals_of[:, keypoint] != NONE, keypoint] for animals_of in (members, joined)]
        assert sorted(places[0]) == sorted(places[1])


def halves(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, TypicalDistances]:
    """One animal in two fragments, keypoints 0 and 1 and keypoints 3 to 5."""
    points, scores, typical = scene(seed, 1, 0.0)
    return np.array([[0, 0, NONE, NONE, NONE, NONE], [NONE, NONE, NONE, 0, 0, 0]]), points, scores, typical


def test_a_missing_keypoint_in_a_chain_leaves_one_animal() -> None:
    members, points, scores, typical = halves()
    assert rows(join_fragments(members, points, scores, CHAIN, typical)) == [[0, 0, NONE, 0, 0, 0]]


def test_fragments_that_an_edge_connects_stay_apart() -> None:
    members, points, scores, typical = halves()
    edges = (*CHAIN, (1, 3))  # its field was weak, or they would be one
    assert rows(join_fragments(members, points, scores, edges, typical)) == rows(members)


def test_fragments_with_a_keypoint_in_common_stay_apart() -> None:
    members, points, scores, typical = halves()
    members = np.concatenate([members, members[1:]])
    members[1, 5] = NONE
    members[2, :5] = NONE, NONE, NONE, NONE, 0  # keypoint 4 is in both
    joined = join_fragments(members, points, scores, (), typical)
    assert len(joined) == 2


@pytest.mark.parametrize("share", [1.6, 0.4])
def test_fragments_too_far_or_too_near_stay_apart(share: float) -> None:
    members, points, scores, typical = halves()
    points[3:] = points[0] + share * (points[3:] - points[0])
    joined = join_fragments(members, points, scores, CHAIN, typical)
    assert rows(joined) == rows(members)


def test_nothing_is_joined_by_distances_that_are_not_known() -> None:
    members, points, scores, _ = halves()
    unknown = typical_distances(empty_statistics(KEYPOINTS))
    with np.errstate(all="raise"):
        assert rows(join_fragments(members, points, scores, CHAIN, unknown)) == rows(members)


def test_few_keypoints_without_a_link_are_no_animal() -> None:
    points, scores, typical = scene(0, 1, 0.0)
    singles = np.full((KEYPOINTS, KEYPOINTS), NONE)
    singles[0, 0] = singles[2, 2] = singles[4, 4] = 0
    three = singles[[0, 2, 4]]
    assert rows(join_fragments(three, points, scores, CHAIN, typical)) == [[0, NONE, 0, NONE, 0, NONE]]
    assert rows(join_fragments(three[:2], points, scores, CHAIN, typical)) == rows(three[:2])


def test_of_many_fragments_those_with_the_highest_scores_are_looked_at() -> None:
    points, scores, typical = scene(0, 1, 0.0)
    rng = np.random.default_rng(0)
    noise = rng.uniform(-4e5, 4e5, (KEYPOINTS, MAX_FRAGMENTS, 2)).astype(np.float32)
    points = np.concatenate([points, noise], axis=1)
    scores = np.concatenate([np.ones((KEYPOINTS, 1)), np.full((KEYPOINTS, MAX_FRAGMENTS), 0.1)], axis=1)
    singles = np.full((MAX_FRAGMENTS, KEYPOINTS), NONE)
    singles[:, 0] = np.arange(1, MAX_FRAGMENTS + 1)
    members = np.concatenate([singles, halves()[0]])
    joined = join_fragments(members, points, scores, CHAIN, typical)
    assert rows(joined) == rows(np.concatenate([singles, [[0, 0, NONE, 0, 0, 0]]]))


def test_no_animals() -> None:
    _, points, scores, typical = halves()
    assert join_fragments(np.zeros((0, KEYPOINTS), np.int64), points, scores, CHAIN, typical).shape == (0, KEYPOINTS)
