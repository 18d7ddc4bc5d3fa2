"""Distances within animals: statistics as numpy has them, and animals split."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.codecs.limb_lengths import (
    MIN_SAMPLES,
    empty_statistics,
    max_distances,
    split_implausible,
    typical_distances,
    update_statistics,
)

NAN = float("nan")


def poses_of(seed: int, count: int, missing: float = 0.2) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    poses = rng.normal(300, 40, (count, 4, 2))
    poses[rng.random((count, 4)) < missing] = np.nan
    return torch.tensor(poses, dtype=torch.float32)


@given(seed=st.integers(0, 10**6), parts=st.integers(1, 5))
def test_statistics_of_parts_are_those_of_the_whole(seed: int, parts: int) -> None:
    poses = poses_of(seed, 60)
    statistics = empty_statistics(4)
    for part in poses.tensor_split(parts):
        statistics = update_statistics(statistics, part[None])
    distances = np.linalg.norm(poses.double()[:, :, None] - poses.double()[:, None], axis=-1)
    np.testing.assert_array_equal(statistics.samples, (~np.isnan(distances)).sum(axis=0))
    np.testing.assert_allclose(statistics.mean, np.nanmean(distances, axis=0), rtol=1e-4, atol=1e-4)
    deviations = (statistics.squares / (statistics.samples - 1)).sqrt()
    np.testing.assert_allclose(deviations, np.nanstd(distances, axis=0, ddof=1), rtol=1e-3, atol=1e-3)


def test_there_is_no_limit_before_enough_samples() -> None:
    statistics = update_statistics(empty_statistics(4), poses_of(0, MIN_SAMPLES - 1, missing=0))
    assert np.isinf(max_distances(typical_distances(statistics), 3.0)).all()
    statistics = update_statistics(statistics, poses_of(1, 1, missing=0))
    assert np.isfinite(max_distances(typical_distances(statistics), 3.0)).all()
    assert np.isinf(max_distances(typical_distances(statistics), None)).all()
    assert np.isinf(
        max_distances(typical_distances(update_statistics(empty_statistics(4), torch.full((99, 4, 2), NAN))), 3.0)
    ).all()


def test_the_limit_lies_beyond_the_mean_by_so_many_deviations() -> None:
    far = torch.tensor([8.0, 12.0]).repeat(500)
    poses = torch.stack((torch.zeros(1000, 2), torch.stack((far, torch.zeros(1000)), dim=-1)), dim=1)
    limit = max_distances(typical_distances(update_statistics(empty_statistics(2), poses)), 3.0)
    assert limit[0, 1].item() == pytest.approx(10 + 3 * 2, rel=1e-2)
    assert limit[1, 0] == limit[0, 1]


def test_two_animals_in_one_are_split_and_plausible_ones_are_kept() -> None:
    max_distance = np.full((4, 4), 20.0)
    poses = np.array(
        [
            [[0, 0], [10, 0], [20, 0], [30, 0]],  # a chain: its ends are far apart, but connected by the others
            [[0, 0], [10, 0], [200, 0], [NAN, NAN]],
            [[0, 0], [300, 0], [310, 0], [320, 0]],
            [[NAN, NAN]] * 4,
        ],
        np.float32,
    )
    parts = split_implausible(poses, max_distance)
    assert parts.tolist() == [[0, 0, 0, 0], [0, 0, 1, -1], [1, 0, 0, 0], [-1] * 4]
    assert (split_implausible(poses, np.full((4, 4), np.inf)) <= 0).all()
    assert split_implausible(poses[:0], max_distance).shape == (0, 4)
