"""Matching and joining of candidates: against brute force, and on cases with a known result."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.codecs.paf_grouping import NONE, group_keypoints, match_edges, refine_groups

MIN_AFFINITY = 0.2
CHAIN = ((0, 1), (1, 2), (2, 3))
ALL = tuple(itertools.combinations(range(4), 2))


def affinity_of(edges: tuple[tuple[int, int], ...], animals: np.ndarray, strength: float = 0.9) -> np.ndarray:
    """(L, P, P) of animals (M, K) of candidates: `strength` within each, 0 between."""
    places = max(1, int(animals.max()) + 1)
    values = np.zeros((len(edges), places, places), np.float32)
    for animal in animals:
        for edge, (first, second) in enumerate(edges):
            if NONE not in (animal[first], animal[second]):
                values[edge, animal[first], animal[second]] = strength
    return values


def known_of(animals: np.ndarray) -> np.ndarray:
    known = np.zeros((animals.shape[1], max(1, int(animals.max()) + 1)), bool)
    for keypoint, place in np.argwhere(animals.T != NONE):
        known[keypoint, animals.T[keypoint, place]] = True
    return known


def rows(members: np.ndarray) -> list[list[int]]:
    return sorted(members.tolist())


@given(data=st.data(), rows_count=st.integers(1, 5), columns=st.integers(1, 5))
def test_the_matching_has_the_greatest_total_affinity(data: st.DataObject, rows_count: int, columns: int) -> None:
    size = max(rows_count, columns)
    seed = data.draw(st.integers(0, 10**6))
    affinity = np.zeros((3, size, size))
    affinity[:, :rows_count, :columns] = np.random.default_rng(seed).uniform(-0.2, 1, (3, rows_count, columns)).round(1)
    chosen = match_edges(affinity, MIN_AFFINITY)
    gains = np.where(affinity >= MIN_AFFINITY, affinity, 0.0)
    orders = [list(order) for order in itertools.permutations(range(size))]
    for edge in range(3):
        best = max(gains[edge][range(size), order].sum() for order in orders)
        assert affinity[edge][chosen[edge]].sum() == pytest.approx(best)
        assert chosen[edge].sum(axis=0).max() <= 1
        assert chosen[edge].sum(axis=1).max() <= 1
        assert (affinity[edge][chosen[edge]] >= MIN_AFFINITY).all()


@given(seed=st.integers(0, 10**6), animals=st.integers(0, 30), edges=st.sampled_from([CHAIN, ALL]))
def test_candidates_are_grouped_into_their_animals(seed: int, animals: int, edges: tuple[tuple[int, int], ...]) -> None:
    rng = np.random.default_rng(seed)
    expected = np.stack([rng.permutation(animals) for _ in range(4)], axis=1).reshape(animals, 4)
    affinity = affinity_of(edges, expected) if animals else np.zeros((len(edges), 0, 0), np.float32)
    affinity += rng.uniform(0, 0.15, affinity.shape).astype(np.float32)
    grouped = group_keypoints(affinity, np.ones((4, animals), bool), edges, MIN_AFFINITY)
    assert rows(grouped) == rows(expected)


@given(seed=st.integers(0, 10**6))
def test_the_direction_of_an_edge_does_not_matter(seed: int) -> None:
    # head/edges=listed takes pairs as they are written. Halves of ten keypoints are joined by the sum of many links.
    rng = np.random.default_rng(seed)
    expected = np.stack([rng.permutation(4) for _ in range(10)], axis=1)
    edges = tuple(tuple(rng.permutation(pair).tolist()) for pair in itertools.combinations(range(10), 2))
    grouped = group_keypoints(affinity_of(edges, expected, 0.5), known_of(expected), edges, MIN_AFFINITY)
    assert rows(grouped) == rows(expected)


@given(seed=st.integers(0, 10**6))
def test_with_all_edges_any_keypoint_may_be_hidden(seed: int) -> None:
    rng = np.random.default_rng(seed)
    expected = np.stack([rng.permutation(6) for _ in range(4)], axis=1)
    expected[rng.random(expected.shape) < 0.3] = NONE
    expected = expected[(expected != NONE).any(axis=1)]
    grouped = group_keypoints(affinity_of(ALL, expected), known_of(expected), ALL, MIN_AFFINITY)
    assert rows(grouped) == rows(expected)


def test_a_broken_chain_gives_two_animals() -> None:
    whole = np.array([[0, 0, 0, 0], [1, NONE, 1, 1]])
    grouped = group_keypoints(affinity_of(CHAIN, whole), known_of(whole), CHAIN, MIN_AFFINITY)
    assert rows(grouped) == [[NONE, NONE, 1, 1], [0, 0, 0, 0], [1, NONE, NONE, NONE]]


@given(seed=st.integers(0, 10**6), edges=st.sampled_from([CHAIN, ALL]))
def test_every_candidate_is_in_exactly_one_animal(seed: int, edges: tuple[tuple[int, int], ...]) -> None:
    rng = np.random.default_rng(seed)
    known = rng.random((4, 5)) < 0.8
    affinity = rng.uniform(-1, 1, (len(edges), 5, 5)).astype(np.float32)
    for edge, (first, second) in enumerate(edges):
        affinity[edge] *= known[first, :, None] & known[second]
    grouped = group_keypoints(affinity, known, edges, MIN_AFFINITY)
    for keypoint in range(4):
        places = grouped[:, keypoint]
        assert sorted(places[places != NONE]) == np.flatnonzero(known[keypoint]).tolist()


def test_one_spurious_link_does_not_join_two_halves() -> None:
    """The head of one animal and the rest of another, eight keypoints in all, sixteen edges between: one has a link."""
    edges = tuple(itertools.combinations(range(8), 2))
    halves = np.array([[0, 0, 0, 0, NONE, NONE, NONE, NONE], [NONE, NONE, NONE, NONE, 0, 0, 0, 0]])
    affinity = affinity_of(edges, halves)
    affinity[edges.index((3, 4)), 0, 0] = 0.8
    assert rows(group_keypoints(affinity, known_of(halves), edges, MIN_AFFINITY)) == rows(halves)


def test_fragments_with_a_link_and_no_shared_keypoint_are_joined() -> None:
    affinity = affinity_of(CHAIN, np.array([[0, 0, 0, 0]]))
    affinity[1] = 0.3  # the weakest link comes last, when both its ends have grown
    assert rows(group_keypoints(affinity, np.ones((4, 1), bool), CHAIN, MIN_AFFINITY)) == [[0, 0, 0, 0]]


def test_two_animals_are_not_joined_by_the_weaker_link() -> None:
    """A ring of links that would put two noses into one animal: the strongest go first."""
    edges = ((0, 1), (1, 2))
    affinity = np.array([[[0.9, 0.0], [0.0, 0.8]], [[0.7, 0.0], [0.0, 0.6]]], np.float32)
    assert rows(group_keypoints(affinity, np.ones((3, 2), bool), edges, MIN_AFFINITY)) == [[0, 0, 0], [1, 1, 1]]


def test_many_edges_together_outweigh_the_strongest() -> None:
    """The edge between the first two keypoints has its highest affinity crosswise, all other edges do not."""
    animals = np.array([[0, 0, 0, 0], [1, 1, 1, 1]])
    affinity = affinity_of(ALL, animals)
    affinity[ALL.index((0, 1))] = [[0.5, 0.98], [0.97, 0.5]]
    grouped = group_keypoints(affinity, np.ones((4, 2), bool), ALL, MIN_AFFINITY)
    assert rows(grouped) == rows(animals)


@given(seed=st.integers(0, 10**6))
def test_refining_never_lowers_the_total_affinity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    affinity = rng.uniform(0, 1, (len(ALL), 4, 4)).astype(np.float32)
    members = np.stack([rng.permutation(4) for _ in range(4)], axis=1)
    members[rng.random(members.shape) < 0.2] = NONE
    refined = refine_groups(members, affinity, np.array(ALL))
    assert total(refined, affinity) >= total(members, affinity) - 1e-4
    assert (np.sort(refined, axis=0) == np.sort(members, axis=0)).all()  # each candidate once, as before
    assert ((refined == NONE) == (members == NONE)).all()


def total(members: np.ndarray, affinity: np.ndarray) -> float:
    """The sum of affinities over all edges of all animals."""
    return sum(
        float(affinity[edge, animal[first], animal[second]])
        for animal in members
        for edge, (first, second) in enumerate(ALL)
        if NONE not in (animal[first], animal[second])
    )


@pytest.mark.parametrize("keypoints", [1, 2])
def test_skeletons_of_one_and_of_two_keypoints(keypoints: int) -> None:
    edges = ((0, 1),)[: keypoints - 1]
    affinity = np.tile(np.eye(3, dtype=np.float32), (len(edges), 1, 1))
    grouped = group_keypoints(affinity, np.ones((keypoints, 3), bool), edges, MIN_AFFINITY)
    assert rows(grouped) == [[place] * keypoints for place in range(3)]
