"""Matching of animals: no assignment is cheaper, and what is never paired."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.codecs.matching import animal_sizes, match_animals, match_by_similarity
from tests.metrics.made_up import SHAPE, animal_shapes, seeds


def lowest_cost_of_all(pred: np.ndarray, gt: np.ndarray, max_distance: float) -> float:
    """The lowest cost of any assignment: pixels of error for each pair, an animal's max_distance for each left alone."""

    def cost(m: int, n: int) -> float:
        box = np.nanmax(gt[n], axis=0) - np.nanmin(gt[n], axis=0)
        limit = max_distance * box.max()
        spent = [
            limit if np.isnan(f).any() else np.hypot(*(f - t))
            for f, t in zip(pred[m], gt[n], strict=True)
            if not np.isnan(t).any()
        ]
        return min(limit, float(np.mean(spent)))

    def alone(n: int) -> float:
        return max_distance * float((np.nanmax(gt[n], axis=0) - np.nanmin(gt[n], axis=0)).max())

    choices = [*range(len(pred)), *[None] * len(gt)]
    return min(
        sum(alone(n) if m is None else cost(m, n) for n, m in enumerate(choice))
        for choice in set(permutations(choices, len(gt)))
    )


@given(
    seed=seeds, labeled=st.integers(1, 3), false_positives=st.integers(0, 2), max_distance=st.sampled_from([0.2, 1.0])
)
def test_no_other_assignment_is_cheaper(seed: int, labeled: int, false_positives: int, max_distance: float) -> None:
    random = np.random.default_rng(seed)
    gt = animal_shapes(random, labeled) * 0.4
    pred = np.concatenate([gt + random.normal(0, 25, gt.shape), animal_shapes(random, false_positives) * 0.4])
    random.shuffle(pred)
    pred[random.random(pred.shape[:2]) < 0.2] = np.nan
    gt[:, 2:][random.random((labeled, 3)) < 0.3] = np.nan
    pairs = match_animals(pred, gt, max_distance=max_distance)
    limits = max_distance * animal_sizes(gt)
    ours = limits.sum()
    for m, n in pairs:
        distance = np.linalg.norm(pred[m] - gt[n], axis=-1)[~np.isnan(gt[n]).any(axis=-1)]
        error = np.where(np.isnan(distance), limits[n], distance).mean()
        assert error < limits[n]
        ours += error - limits[n]
    assert len({m for m, _ in pairs}) == len({n for _, n in pairs}) == len(pairs)
    assert ours == pytest.approx(lowest_cost_of_all(pred, gt, max_distance))


@given(seed=seeds)
def test_the_order_of_animals_does_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    gt = animal_shapes(random, 4)
    pred = gt + random.normal(0, 30, gt.shape)
    there, here = random.permutation(4), random.permutation(4)
    pairs = {(there[m], here[n]) for m, n in match_animals(pred[there], gt[here])}
    assert pairs == set(match_animals(pred, gt))


def test_an_animal_farther_than_its_own_length_is_another() -> None:
    gt = SHAPE[None]  # 115 px long
    assert match_animals(gt + np.array([114.0, 0]), gt) == [(0, 0)]
    assert match_animals(gt + np.array([116.0, 0]), gt) == []
    assert match_animals(gt + np.array([116.0, 0]), gt, max_distance=None) == [(0, 0)]


def test_a_fragment_does_not_beat_a_whole_animal() -> None:
    fragment = np.full_like(SHAPE, np.nan)
    fragment[1] = SHAPE[1]
    assert match_animals(np.stack([fragment, SHAPE + 2]), SHAPE[None]) == [(1, 0)]


@pytest.mark.parametrize("max_distance", [1.0, None])
def test_animals_without_a_shared_keypoint_are_never_paired(max_distance: float | None) -> None:
    pred, gt = SHAPE[None].copy(), SHAPE[None].copy()
    pred[0, :2], gt[0, 2:] = np.nan, np.nan
    assert match_animals(pred, gt, max_distance=max_distance) == []
    assert match_animals(np.zeros((0, 5, 2)), gt, max_distance=max_distance) == []
    assert match_animals(pred, np.full((1, 5, 2), np.nan), max_distance=max_distance) == []


def test_animals_of_one_keypoint_are_paired_by_distance_alone() -> None:
    gt = np.array([[[0.0, 0.0]], [[100.0, 0.0]]])
    assert set(match_animals(gt[::-1] + 30, gt)) == {(0, 1), (1, 0)}


def test_the_size_is_the_longer_side_of_the_box() -> None:
    one_place = np.full_like(SHAPE, np.nan)
    one_place[2] = 7
    nowhere = np.full_like(SHAPE, np.nan)
    np.testing.assert_array_equal(animal_sizes(np.stack([SHAPE, one_place, nowhere])), [115, np.nan, np.nan])


def test_the_greatest_total_similarity_is_paired() -> None:
    similarity = np.array([[0.9, 0.8, np.nan], [0.85, 0.05, np.nan]])
    assert sorted(match_by_similarity(similarity, 0.1)) == [(0, 1), (1, 0)]  # 1.65 together, where greed would get 0.95
    assert match_by_similarity(similarity, 0.88) == [(0, 0)]


def test_no_similarity_gives_no_pairs() -> None:
    assert match_by_similarity(np.zeros((0, 3)), 0.1) == []
    assert match_by_similarity(np.full((2, 2), np.nan), 0.1) == []
