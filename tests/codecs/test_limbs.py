"""Which limbs data keep."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcpose.codecs.limbs import keep_limbs, separability


def test_separability_is_the_share_of_pairs_in_order() -> None:
    within, between = np.array([0.9, 0.5, 0.3]), np.array([0.1, 0.5])
    by_hand = np.mean([(a > b) + 0.5 * (a == b) for a in within for b in between])
    assert separability([within], [between]) == pytest.approx([by_hand])
    assert separability([within, np.zeros(0)], [np.zeros(0), between]).tolist() == [0.5, 0.5]


@given(seed=st.integers(0, 10**6), keypoints=st.integers(2, 7), extra=st.integers(0, 8))
@settings(max_examples=25, deadline=None)
def test_what_is_kept_joins_all_keypoints_and_is_the_best_tree(seed: int, keypoints: int, extra: int) -> None:
    chance = np.random.default_rng(seed)
    limbs = tuple(itertools.combinations(range(keypoints), 2))
    within = [chance.uniform(0.2, 1, 9) for _ in limbs]
    between = [chance.uniform(0, 0.8, 9) for _ in limbs]
    scores = separability(within, between)
    kept = keep_limbs(within, between, limbs, keypoints, keypoints - 1 + extra)
    assert kept.sum() == min(len(limbs), keypoints - 1 + extra)
    assert _joins(np.array(limbs)[kept], keypoints)
    tree = keep_limbs(within, between, limbs, keypoints, 0)
    assert (kept >= tree).all()
    if keypoints <= 5:
        trees = [
            scores[list(chosen)].sum()
            for chosen in itertools.combinations(range(len(limbs)), keypoints - 1)
            if _joins(np.array(limbs)[list(chosen)], keypoints)
        ]
        assert scores[tree].sum() == pytest.approx(max(trees))


def test_limbs_that_join_not_all_keypoints_cannot_be_pruned() -> None:
    with pytest.raises(ValueError, match="join all 3"):
        keep_limbs([np.ones(1)], [np.zeros(1)], ((0, 1),), 3, 5)


def _joins(limbs: np.ndarray, keypoints: int) -> bool:
    reached = {0}
    for _ in range(keypoints):
        reached |= {end for limb in limbs.tolist() if reached & set(limb) for end in limb}
    return len(reached) == keypoints
