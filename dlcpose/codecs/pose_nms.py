"""Of several poses that tell of one animal, the surest."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pose_similarity(poses: Tensor, sigmas: Sequence[float], min_area: float = 1.0) -> Tensor:
    """Object keypoint similarity of poses among themselves, in [0, 1]: (..., P, K, 2) px -> (..., P, P).

    [..., i, j] is how like i the pose j is, over the keypoints both have, by the area of i's box; 0 where they share
    none. sigmas: K values. smallest_area: px²; below it a box says nothing, such as that of a single keypoint.
    Source: COCO keypoint evaluation, with the area of the box as DeepLabCut takes it.
    """
    missing = poses.isnan()
    sides = poses.masked_fill(missing, -torch.inf).amax(dim=-2) - poses.masked_fill(missing, torch.inf).amin(dim=-2)
    areas = sides.clamp(min=0).prod(dim=-1).clamp(min=min_area)  # (..., P), a pose without keypoints has none
    squared = (poses[..., :, None, :, :] - poses[..., None, :, :, :]).square().sum(dim=-1)  # (..., P, P, K)
    spread = 2 * areas[..., :, None, None] * (2 * poses.new_tensor(list(sigmas))) ** 2  # (..., P, 1, K)
    shared = ~squared.isnan()
    near = torch.exp(-squared / spread).masked_fill(~shared, 0.0)
    return near.sum(dim=-1) / shared.sum(dim=-1).clamp(min=1)


def pose_nms(similarity: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Which poses are left, the surest first: (P, P) as `pose_similarity` has it, (P,) -> indices (M,).

    A pose goes when a surer one that itself is left is as like it as `threshold` or more. All keypoints count together:
    two animals that touch, or share a place with a few keypoints, both stay.
    """
    likeness = similarity.detach().cpu().numpy()
    left: list[int] = []
    for index in scores.detach().cpu().argsort(descending=True, stable=True).tolist():
        if not left or likeness[left, index].max() < threshold:
            left.append(index)
    return torch.tensor(left, dtype=torch.long, device=scores.device)
