"""How far apart an animal's keypoints can be, learnt from labelled poses, and animals that cannot be one."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

Array = npt.NDArray[Any]
ENOUGH = 30  # poses that showed a pair: below, nothing is known of it
NARROWEST = 0.1  # of the mean: a pair that hardly varied in the labels may do so elsewhere


class DistanceStatistics(NamedTuple):
    """Of the distance of each pair of keypoints within an animal, in pixels: how often seen, mean, and sum of squares."""

    seen: Tensor  # (K, K)
    mean: Tensor  # (K, K)
    squares: Tensor  # (K, K) of the deviations from the mean


def no_statistics(keypoints: int) -> DistanceStatistics:
    """Statistics of nothing seen yet."""
    return DistanceStatistics(*(torch.zeros(keypoints, keypoints) for _ in range(3)))


def updated(statistics: DistanceStatistics, keypoints_in_crop: Tensor) -> DistanceStatistics:
    """Statistics with further poses (..., K, 2), NaN where missing.

    Source: Chan et al. 1979, combining means and squares of two samples: sums of squares would lose their last digits.
    """
    poses = keypoints_in_crop.flatten(end_dim=-3)  # (N, K, 2)
    distances = (poses[:, :, None] - poses[:, None]).square().sum(dim=-1).sqrt()  # (N, K, K)
    known = ~distances.isnan()
    here = known.sum(dim=0)
    mean = distances.nan_to_num(0.0).sum(dim=0) / here.clamp(min=1)
    squares = ((distances - mean) ** 2).nan_to_num(0.0).sum(dim=0)
    seen = statistics.seen + here
    step = mean - statistics.mean
    share = here / seen.clamp(min=1)
    return DistanceStatistics(
        seen, statistics.mean + step * share, statistics.squares + squares + step**2 * statistics.seen * share
    )


def max_distances(statistics: DistanceStatistics, reach: float | None) -> Array:
    """The greatest plausible distance of each pair of keypoints: (K, K) pixels, infinite where too little is known.

    reach: standard deviations beyond the mean; None for any distance.
    """
    seen, mean, squares = (values.cpu().numpy() for values in statistics)
    if reach is None:
        return np.full_like(mean, np.inf)
    deviation = np.sqrt(squares / np.maximum(seen - 1, 1))
    limit = mean + reach * np.maximum(deviation, NARROWEST * mean)
    limits: Array = np.where(seen >= ENOUGH, limit, np.float32(np.inf))
    return limits


def split_implausible(poses: Array, farthest: Array) -> Array:
    """Which part of its animal each keypoint belongs to: (M, K, 2), (K, K) -> (M, K), 0 for the largest part.

    Keypoints within `farthest` of each other belong together, also by way of others; an animal all of whose keypoints
    do is one part. Missing keypoints (NaN) are −1.
    """
    x, y = poses[..., 0], poses[..., 1]
    squared = (x[:, :, None] - x[:, None]) ** 2 + (y[:, :, None] - y[:, None]) ** 2  # (M, K, K)
    near: Array = np.asarray(squared <= farthest**2)  # NaN is not
    known: Array = ~np.isnan(x)
    parts = np.where(known, 0, -1)
    apart = ~near & known[:, :, None] & known[:, None]
    for animal in np.flatnonzero(apart.any(axis=(1, 2))):
        labels = connected_components(coo_matrix(near[animal]), directed=False)[1][known[animal]]
        batch_by_size = np.argsort(-np.bincount(labels), kind="stable")
        parts[animal, known[animal]] = np.argsort(batch_by_size)[labels]
    return parts
