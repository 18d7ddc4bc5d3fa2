"""Match predictions to ground truth, one to one (Hungarian): by mean pixel error, or by any similarity."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Array = npt.NDArray[Any]
MAX_DISTANCE = 1.0  # animal lengths: a pose farther off than the animal is long means another place in the image


def match_animals(
    pred_in_image: Array, gt_in_image: Array, *, max_distance: float | None = MAX_DISTANCE
) -> list[tuple[int, int]]:
    """Pairs (prediction, ground truth) with the least total error: (M, K, 2), (N, K, 2) px -> at most min(M, N) pairs.

    The error of a pair is its mean distance over the labeled keypoints, in pixels. A pair is allowed while its error is
    below `max_distance` times the ground-truth animal's size, and an animal without a partner costs just that much. So does
    a labeled keypoint that was not predicted: else a fragment that hits one keypoint would beat a whole animal. None for
    max_distance allows pairs however far apart, which is right where there is one of each.
    For an animal labeled at fewer than two places, which has no size, the prediction's size is taken; if that has none
    either, no distance is too large. Animals without a shared keypoint are never paired.
    """
    distances = np.linalg.norm(pred_in_image[:, None].astype(np.float64) - gt_in_image, axis=-1)  # (M, N, K)
    shared = ~np.isnan(distances)
    if not shared.any():
        return []
    limits = _limits(pred_in_image, gt_in_image, max_distance, beyond_all=float(np.nanmax(distances)) + 1.0)  # (M, N)
    labeled = ~np.isnan(gt_in_image).any(axis=-1)  # (N, K)
    costs = np.where(shared, distances, limits[..., None]) * labeled  # (M, N, K)
    error = costs.sum(axis=-1) / np.maximum(labeled.sum(axis=-1), 1)  # (M, N)
    return match_by_similarity(np.where(shared.any(axis=-1), limits - error, 0.0), min_similarity=0.0)


def match_by_similarity(similarity: Array, min_similarity: float) -> list[tuple[int, int]]:
    """Pairs (row, column) with the greatest total similarity: (M, N) -> at most min(M, N) pairs.

    Each pair has a similarity above 0 and of at least `min_similarity`. NaN is no similarity.
    """
    gain = np.where(similarity >= min_similarity, similarity, 0.0)
    pairs = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if gain[row, column] > 0]


def animal_sizes(keypoints: Array) -> Array:
    """The longer side of the box around each animal's known keypoints: (N, K, 2) -> (N,), NaN below two places."""
    known = ~np.isnan(keypoints).any(axis=-1, keepdims=True)  # (N, K, 1)
    lowest = np.where(known, keypoints, np.inf).min(axis=1)  # (N, 2)
    highest = np.where(known, keypoints, -np.inf).max(axis=1)
    with np.errstate(invalid="ignore"):
        sizes = (highest - lowest).max(axis=-1)  # -inf without any keypoint, 0 with a single one
    return np.where(sizes > 0, sizes, np.nan).astype(np.float64)


def _limits(pred_in_image: Array, gt_in_image: Array, max_distance: float | None, beyond_all: float) -> Array:
    """The error from which on a prediction and an animal cannot be paired: (M, N) pixels."""
    if max_distance is None:
        return np.full((len(pred_in_image), len(gt_in_image)), beyond_all)
    sizes = np.broadcast_to(animal_sizes(gt_in_image), (len(pred_in_image), len(gt_in_image)))
    sizes = np.where(np.isnan(sizes), animal_sizes(pred_in_image)[:, None], sizes)
    return np.where(np.isnan(sizes), beyond_all, max_distance * sizes)
