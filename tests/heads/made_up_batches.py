"""Batches of labeled animals on black images, and the comparison of predicted ones with them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.sample import PoseCrop


def batch_of(poses: Sequence[np.ndarray], size: tuple[int, int]) -> PoseBatch:
    """Black images of (height, width) with these animals, (N, K, 2) px each; NaN is missing."""
    return collate([_crop(number, np.asarray(keypoints, np.float32), size) for number, keypoints in enumerate(poses)])


def flipped(batch: PoseBatch, order: Sequence[int]) -> PoseBatch:
    """The mirror image, left and right swapped by order."""
    width = batch.images.shape[-1]
    poses = batch.keypoints_in_crop[:, :, list(order)] * torch.tensor([-1.0, 1.0]) + torch.tensor([width - 1.0, 0.0])
    return batch_of(list(poses.numpy()), tuple(batch.images.shape[-2:]))


def single(batch: PoseBatch, index: int) -> PoseBatch:
    """One image of a batch, without the animals that pad it."""
    poses = batch.keypoints_in_crop[index]
    return batch_of([poses[~poses.isnan().flatten(1).all(dim=1)].numpy()], tuple(batch.images.shape[-2:]))


def assert_found(pred: PoseInstances, gt_in_crop: Tensor, within: float) -> None:
    """Every labeled animal is predicted to `within` px at each labeled keypoint, and no other animal is."""
    labeled = gt_in_crop[~gt_in_crop.isnan().flatten(1).all(dim=1)]  # (N, K, 2)
    assert len(pred) == len(labeled), f"{len(pred)} animals predicted, {len(labeled)} labeled"
    if not len(labeled):
        return
    apart = (pred.keypoints_in_crop[:, None] - labeled).norm(dim=-1)  # (M, N, K)
    apart = torch.where(labeled.isnan().any(dim=-1), 0.0, apart.nan_to_num(torch.inf)).amax(dim=-1)  # (M, N)
    partners = apart.argmin(dim=0)
    assert sorted(partners.tolist()) == list(range(len(pred))), "two labeled animals have one partner"
    assert apart.amin(dim=0).max() <= within, f"worst keypoint {apart.amin(dim=0).max():.3f} px off"


def _crop(number: int, keypoints: np.ndarray, size: tuple[int, int]) -> PoseCrop:
    animals, keypoint_count = keypoints.shape[:2]
    missing = np.isnan(keypoints).any(axis=-1)
    return PoseCrop(
        key=f"frame_{number}",
        image=np.zeros((*size, 3), np.uint8),
        keypoints_in_crop=keypoints,
        visibility=np.where(missing, 0, 2).astype(np.int64).reshape(animals, keypoint_count),
        boxes_in_crop=np.full((animals, 4), np.nan, np.float32),
        areas=np.full(animals, np.nan, np.float32),
        identities=np.full(animals, -1, np.int64),
        unique_in_crop=np.zeros((0, 2), np.float32),
        crop_to_image=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    )
