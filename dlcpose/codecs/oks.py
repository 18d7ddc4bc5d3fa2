"""Object keypoint similarity (OKS) of poses, and non-maximum suppression of poses by it.

Functions take numpy arrays and torch tensors alike, and compute in float64.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", bound=Any)  # numpy array or torch tensor
MIN_AREA = 1.0  # px²: an animal with one keypoint, or with several in a line, still has a place


def compute_oks(
    pred_in_image: Array,
    gt_in_image: Array,
    areas: Array,
    sigmas: Array | Sequence[float],
    *,
    shared_only: bool = False,
) -> Array:
    """Object keypoint similarity of every prediction with every ground-truth animal, in [0, 1].

    (M, K, 2), (N, K, 2) pixels, (N,) px², (K,) -> (M, N) float64. Keypoints without a label (NaN) do not count; labeled
    ones that were not predicted (NaN) count as 0, or not at all with `shared_only`, where a pair without a shared keypoint
    has similarity 0. An animal without labels, or without an area, gives NaN.
    Raises ValueError if K differs. Source: COCO keypoint evaluation, pycocotools `computeOks`.
    """
    if not pred_in_image.shape[1] == gt_in_image.shape[1] == len(sigmas):
        raise ValueError(
            f"expected the same number of keypoints in predictions, ground truth and sigmas, got {pred_in_image.shape[1]}, "
            f"{gt_in_image.shape[1]} and {len(sigmas)}"
        )
    library = _library(gt_in_image)
    pred, gt, area, sigma = (
        _as_float64(each, like=gt_in_image) for each in (pred_in_image, gt_in_image, areas, sigmas)
    )
    squared = ((pred[:, None] - gt) ** 2).sum(-1)  # (M, N, K)
    labeled = ~library.isnan(gt).any(-1)  # (N, K)
    counted = ~library.isnan(squared) if shared_only else library.broadcast_to(labeled, squared.shape)
    spread = 2 * area[:, None] * (2 * sigma) ** 2  # (N, K) px²
    near = library.exp(-squared / library.where(spread > 0, spread, np.nan))
    count = counted.sum(-1)  # (M, N)
    similarity = library.where(counted, library.nan_to_num(near), 0.0).sum(-1) / library.clip(count, 1, None)
    return cast(Array, library.where(labeled.any(-1) & (area > 0), similarity, np.nan))


def pairwise_oks(poses: Array, sigmas: Array | Sequence[float], min_area: float = MIN_AREA) -> Array:
    """Object keypoint similarity of poses among themselves, in [0, 1]: (P, K, 2) px, (K,) -> (P, P) float64.

    [i, j] is how similar pose j is to pose i, over the keypoints that both have, by the area of the box around i's
    keypoints; 0 where they share none. min_area: px², for boxes smaller than that, such as those of one keypoint.
    Source: COCO keypoint evaluation, with the area of the box as in DeepLabCut.
    """
    areas = oks_areas(_library(poses).full_like(poses[:, 0, 0], np.nan), poses, min_area)
    similarity = compute_oks(poses, poses, areas, sigmas, shared_only=True)
    return cast(Array, _library(poses).nan_to_num(similarity).T)


def oks_areas(areas: Array, gt_in_image: Array, min_area: float = MIN_AREA) -> Array:
    """The area that OKS is computed with: the data's own, else that of the keypoints' box, at least `min_area`.

    areas: (N,) px², NaN where the data has none. gt_in_image: (N, K, 2), NaN where unlabeled. Returns (N,) float64.
    """
    library = _library(gt_in_image)
    known = ~library.isnan(gt_in_image).any(-1)[..., None]  # (N, K, 1)
    lowest = library.amin(library.where(known, gt_in_image, np.inf), 1)  # (N, 2)
    highest = library.amax(library.where(known, gt_in_image, -np.inf), 1)
    sides = _as_float64(library.where(known.any(1), highest - lowest, 0.0), like=gt_in_image)
    boxes = library.clip(sides[:, 0] * sides[:, 1], min_area, None)
    return cast(Array, library.where(areas > 0, areas, boxes))


def pose_nms(similarity: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Greedy non-maximum suppression: (P, P) as from `pairwise_oks`, (P,) -> indices (M,) of kept poses, highest score first.

    A pose is dropped when a kept pose with a higher score is at least as similar to it as `threshold`. All keypoints count
    together: two animals that touch, or share the place of a few keypoints, are both kept.
    """
    similarities = similarity.detach().cpu().numpy()
    kept: list[int] = []
    for index in scores.detach().cpu().argsort(descending=True, stable=True).tolist():
        if not kept or similarities[kept, index].max() < threshold:
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long, device=scores.device)


def _library(values: Any) -> ModuleType:
    return torch if isinstance(values, Tensor) else np


def _as_float64(values: Any, *, like: Any) -> Any:
    if isinstance(like, Tensor):
        return torch.as_tensor(values, dtype=torch.float64, device=like.device)
    return np.asarray(values, np.float64)
