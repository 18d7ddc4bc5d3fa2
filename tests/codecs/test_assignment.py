"""Pairs by likeness."""

import numpy as np

from dlcpose.codecs.assignment import assign_pairs


def test_the_most_alike_together_are_paired() -> None:
    similarity = np.array([[0.9, 0.8, np.nan], [0.85, 0.05, np.nan]])
    assert sorted(assign_pairs(similarity, 0.1)) == [(0, 1), (1, 0)]  # 1.65 together, where greed would get 0.95
    assert assign_pairs(similarity, 0.88) == [(0, 0)]


def test_nothing_is_paired_with_nothing() -> None:
    assert assign_pairs(np.zeros((0, 3)), 0.1) == []
    assert assign_pairs(np.full((2, 2), np.nan), 0.1) == []
