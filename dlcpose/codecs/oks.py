"""Object keypoint similarity: how near a found animal is to a labelled one, in units of the animal's size."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
MIN_AREA = 1.0  # px²: an animal of one keypoint, or of several in a line, still has a place


def compute_oks(pred_in_image: Array, gt_in_image: Array, areas: Array, sigmas: Array) -> Array:
    """Object keypoint similarity of every found animal with every labelled one, in [0, 1].

    (M, K, 2), (N, K, 2) pixels, (N,) px², (K,) -> (M, N). Unlabelled keypoints (NaN) do not count, labelled ones that
    were not found (NaN) count as 0; an animal without any label or without an area gives NaN.
    Raises ValueError if K differs. Source: COCO keypoint evaluation, pycocotools `computeOks`.
    """
    if not pred_in_image.shape[1] == gt_in_image.shape[1] == len(sigmas):
        raise ValueError(
            f"Expected as many keypoints found as labelled and as sigmas, got {pred_in_image.shape[1]}, "
            f"{gt_in_image.shape[1]} and {len(sigmas)}."
        )
    labelled = ~np.isnan(gt_in_image).any(axis=-1)  # (N, K)
    displacement = pred_in_image[:, None].astype(np.float64) - gt_in_image  # (M, N, K, 2)
    spread = 2 * areas[:, None] * (2 * np.asarray(sigmas)) ** 2  # (N, K) px²
    near = np.nan_to_num(np.exp(-(displacement**2).sum(axis=-1) / np.where(spread > 0, spread, np.nan)))  # (M, N, K)
    count = labelled.sum(axis=-1)  # (N,)
    defined = (count > 0) & (areas > 0)
    return np.where(defined, np.where(labelled, near, 0.0).sum(axis=-1) / np.maximum(count, 1), np.nan)


def oks_areas(areas: Array, gt_in_image: Array) -> Array:
    """The area each animal is judged by: the data's own where it has one, else its keypoints' box, 1 px² at least.

    areas: (N,) px², NaN where the data has none. truth_in_image: (N, K, 2), NaN where unlabelled. Returns (N,).
    """
    known = np.asarray(~np.isnan(gt_in_image).any(axis=-1, keepdims=True))  # (N, K, 1)
    lowest = np.where(known, gt_in_image, np.inf).min(axis=1)  # (N, 2)
    highest = np.where(known, gt_in_image, -np.inf).max(axis=1)
    around_keypoints = np.where(known.any(axis=1), highest - lowest, 0.0).astype(np.float64).prod(axis=-1)  # (N,)
    return np.where(areas > 0, areas, np.maximum(around_keypoints, MIN_AREA))
