"""Distances within animals: statistics of labeled poses, and assembled animals split where they are implausible."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

Array = npt.NDArray[Any]
MIN_SAMPLES = 30  # poses with a pair of keypoints: below, its statistics are not used
MIN_DEVIATION = 0.1  # of the mean: a distance that hardly varied in the labels may do so elsewhere


class DistanceStatistics(NamedTuple):
    """Of the distance of each pair of keypoints within an animal, in pixels: samples, mean, and sum of squared deviations."""

    samples: Tensor  # (K, K) number of poses
    mean: Tensor  # (K, K)
    squares: Tensor  # (K, K)


def empty_statistics(keypoints: int) -> DistanceStatistics:
    """Statistics of no poses."""
    return DistanceStatistics(*(torch.zeros(keypoints, keypoints) for _ in range(3)))


def update_statistics(statistics: DistanceStatistics, keypoints_in_crop: Tensor) -> DistanceStatistics:
    """Statistics with further poses (..., K, 2), NaN where missing.

    Source: Chan et al. 1979, who combine means and squared deviations: sums of squares would lose digits.
    """
    poses = keypoints_in_crop.flatten(end_dim=-3)  # (N, K, 2)
    distances = (poses[:, :, None] - poses[:, None]).square().sum(dim=-1).sqrt()  # (N, K, K)
    known = ~distances.isnan()
    count_here = known.sum(dim=0)
    mean = distances.nan_to_num(0.0).sum(dim=0) / count_here.clamp(min=1)
    squares = ((distances - mean) ** 2).nan_to_num(0.0).sum(dim=0)
    count = statistics.samples + count_here
    step = mean - statistics.mean
    share = count_here / count.clamp(min=1)
    return DistanceStatistics(
        count, statistics.mean + step * share, statistics.squares + squares + step**2 * statistics.samples * share
    )


class TypicalDistances(NamedTuple):
    """Of each pair of keypoints of an animal, in pixels; NaN where the training poses with both were too few."""

    mean: Array  # (K, K)
    deviation: Array  # (K, K) standard deviation, at least a tenth of the mean


def typical_distances(statistics: DistanceStatistics) -> TypicalDistances:
    """The distances of keypoints within animals that `statistics` tell of."""
    count, mean, squares = (values.cpu().numpy() for values in statistics)
    deviation = np.maximum(np.sqrt(squares / np.maximum(count - 1, 1)), MIN_DEVIATION * mean)
    return TypicalDistances(*(np.where(count >= MIN_SAMPLES, each, np.float32(np.nan)) for each in (mean, deviation)))


def max_distances(typical: TypicalDistances, deviations: float | None) -> Array:
    """The greatest plausible distance of each pair of keypoints: (K, K) pixels, infinite where none is known.

    deviations: number of standard deviations above the mean; None for no limit.
    """
    if deviations is None:
        return np.full_like(typical.mean, np.inf)
    limits: Array = np.nan_to_num(typical.mean + np.float32(deviations) * typical.deviation, nan=np.inf)
    return limits


def split_implausible(poses: Array, max_distance: Array) -> Array:
    """The part of its animal that each keypoint belongs to: (M, K, 2), (K, K) -> (M, K), 0 for the largest part.

    Keypoints within `max_distance` of each other belong to one part, also by way of others. Missing ones (NaN) are −1.
    """
    x, y = poses[..., 0], poses[..., 1]
    squared = (x[:, :, None] - x[:, None]) ** 2 + (y[:, :, None] - y[:, None]) ** 2  # (M, K, K)
    near: Array = np.asarray(squared <= max_distance**2)  # False for NaN
    known: Array = ~np.isnan(x)
    parts = np.where(known, 0, -1)
    apart = ~near & known[:, :, None] & known[:, None]
    for animal in np.flatnonzero(apart.any(axis=(1, 2))):
        labels = connected_components(coo_matrix(near[animal]), directed=False)[1][known[animal]]
        by_size = np.argsort(-np.bincount(labels), kind="stable")
        parts[animal, known[animal]] = np.argsort(by_size)[labels]
    return parts
