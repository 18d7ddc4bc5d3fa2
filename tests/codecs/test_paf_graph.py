"""The edges that data-driven pruning keeps."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.codecs.paf_graph import edge_separability, select_edges


def test_separability_is_the_fraction_of_pairs_in_order() -> None:
    within, between = np.array([0.9, 0.5, 0.3]), np.array([0.1, 0.5])
    by_hand = np.mean([(a > b) + 0.5 * (a == b) for a in within for b in between])
    assert edge_separability([within], [between]) == pytest.approx([by_hand])
    assert edge_separability([within, np.zeros(0)], [np.zeros(0), between]).tolist() == [0.5, 0.5]


@given(seed=st.integers(0, 10**6), keypoints=st.integers(2, 7), extra=st.integers(0, 8))
def test_kept_edges_connect_all_keypoints_and_hold_the_best_tree(seed: int, keypoints: int, extra: int) -> None:
    rng = np.random.default_rng(seed)
    edges = tuple(itertools.combinations(range(keypoints), 2))
    within = [rng.uniform(0.2, 1, 9) for _ in edges]
    between = [rng.uniform(0, 0.8, 9) for _ in edges]
    scores = edge_separability(within, between)
    kept = select_edges(within, between, edges, keypoints, keypoints - 1 + extra)
    assert kept.sum() == min(len(edges), keypoints - 1 + extra)
    assert _connects(np.array(edges)[kept], keypoints)
    tree = select_edges(within, between, edges, keypoints, 0)
    assert (kept >= tree).all()
    if keypoints <= 5:
        trees = [
            scores[list(chosen)].sum()
            for chosen in itertools.combinations(range(len(edges)), keypoints - 1)
            if _connects(np.array(edges)[list(chosen)], keypoints)
        ]
        assert scores[tree].sum() == pytest.approx(max(trees))


def test_edges_that_do_not_connect_all_keypoints_are_refused() -> None:
    with pytest.raises(ValueError, match="connect all 3"):
        select_edges([np.ones(1)], [np.zeros(1)], ((0, 1),), 3, 5)


def _connects(edges: np.ndarray, keypoints: int) -> bool:
    reached = {0}
    for _ in range(keypoints):
        reached |= {end for edge in edges.tolist() if reached & set(edge) for end in edge}
    return len(reached) == keypoints
