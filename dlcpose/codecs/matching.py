"""Which found animal is which labelled one."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Array = npt.NDArray[Any]
REACH = 1.0  # animal lengths: beyond one's own length, another place in the image is meant


def match_animals(pred_in_image: Array, gt_in_image: Array, *, reach: float | None = REACH) -> list[tuple[int, int]]:
    """Pairs (found, labelled) of the assignment with the least error: (M, K, 2), (N, K, 2) -> at most min(M, N) pairs.

    The error of a pair is its mean distance over the labelled keypoints, in pixels. Two can be the same animal only
    while that is less than `reach` times the labelled animal's size, and an animal left without a partner costs just
    that much; so does a labelled keypoint that was not found, or a fragment that hits one keypoint would beat a whole
    animal. `reach` None pairs animals however far apart, which is right where there is only one of each.
    An animal labelled at fewer than two places has no size: the found animal's is taken, and if that has none either,
    distance does not part them. Animals without a shared keypoint are never paired.
    """
    distances = np.linalg.norm(pred_in_image[:, None].astype(np.float64) - gt_in_image, axis=-1)  # (M, N, K)
    shared = ~np.isnan(distances)
    if not shared.any():
        return []
    limits = _limits(pred_in_image, gt_in_image, reach, beyond_all=float(np.nanmax(distances)) + 1.0)  # (M, N)
    labelled = ~np.isnan(gt_in_image).any(axis=-1)  # (N, K)
    spent = np.where(shared, distances, limits[..., None]) * labelled  # (M, N, K)
    error = spent.sum(axis=-1) / np.maximum(labelled.sum(axis=-1), 1)  # (M, N)
    gain = np.where(shared.any(axis=-1), limits - error, 0.0)
    pairs = zip(*linear_sum_assignment(np.maximum(gain, 0.0), maximize=True), strict=True)
    return [(int(m), int(n)) for m, n in pairs if gain[m, n] > 0]


def animal_sizes(keypoints: Array) -> Array:
    """The longer side of the box around each animal's known keypoints: (N, K, 2) -> (N,), NaN below two places."""
    known = ~np.isnan(keypoints).any(axis=-1, keepdims=True)  # (N, K, 1)
    lowest = np.where(known, keypoints, np.inf).min(axis=1)  # (N, 2)
    highest = np.where(known, keypoints, -np.inf).max(axis=1)
    with np.errstate(invalid="ignore"):
        sizes = (highest - lowest).max(axis=-1)  # -inf without any keypoint, 0 with a single one
    return np.where(sizes > 0, sizes, np.nan).astype(np.float64)


def _limits(pred_in_image: Array, gt_in_image: Array, reach: float | None, beyond_all: float) -> Array:
    """How far apart each found and each labelled animal may be to be the same: (M, N) pixels."""
    if reach is None:
        return np.full((len(pred_in_image), len(gt_in_image)), beyond_all)
    sizes = np.broadcast_to(animal_sizes(gt_in_image), (len(pred_in_image), len(gt_in_image)))
    sizes = np.where(np.isnan(sizes), animal_sizes(pred_in_image)[:, None], sizes)
    return np.where(np.isnan(sizes), beyond_all, reach * sizes)
