"""A batch of images with their labels, as torch tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcpose.structures.sample import PoseCrop


@dataclass(frozen=True)
class PoseBatch:
    """The input of a step of a PoseModule. N is the largest number of animals in an image of the batch; others are padded.

    Images come as uint8, a quarter of the bytes of float32, and are normalized on the device.
    """

    keys: tuple[str, ...]  # B names of frames
    images: Tensor  # (B, 3, H, W) uint8 before, float after normalization
    keypoints_in_crop: Tensor  # (B, N, K, 2) float32 pixels, NaN where missing or padded
    visibility: Tensor  # (B, N, K) int64, 0 where missing or padded
    boxes_in_crop: Tensor  # (B, N, 4) float32 x1 y1 x2 y2, NaN where padded
    areas: Tensor  # (B, N) float32 px² of the crop, NaN where unknown or padded
    identities: Tensor  # (B, N) int64, -1 where unknown or padded
    unique_in_crop: Tensor  # (B, U, 2) float32
    crop_to_image: Tensor  # (B, 2, 3) float64, to pixels of the source image
    sizes: tuple[tuple[int, int], ...] = ()  # B (height, width) without padding; empty where there is no padding
    shown: tuple[tuple[int, int], ...] = ()  # B (height, width) of what shows the frame; empty where all of it does

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def own_sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each image without the padding on the right and below that makes it as large as the others."""
        return self.sizes or ((self.images.shape[-2], self.images.shape[-1]),) * len(self)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PoseBatch":
        """The batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "PoseBatch":
        """The batch in page-locked memory, as torch's DataLoader requests it."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "PoseBatch":
        names = [field.name for field in fields(self) if field.name not in ("keys", "sizes", "shown")]
        tensors: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **tensors)


def collate(crops: Sequence[PoseCrop]) -> PoseBatch:
    """A batch of crops: animals are padded with NaN, images of different size with zeros on the right and below."""
    return PoseBatch(
        keys=tuple(crop.key for crop in crops),
        images=_stack_images([crop.image for crop in crops]),
        keypoints_in_crop=_pad([crop.keypoints_in_crop for crop in crops], np.nan),
        visibility=_pad([crop.visibility for crop in crops], 0),
        boxes_in_crop=_pad([crop.boxes_in_crop for crop in crops], np.nan),
        areas=_pad([crop.areas for crop in crops], np.nan),
        identities=_pad([crop.identities for crop in crops], -1),
        unique_in_crop=torch.from_numpy(np.stack([crop.unique_in_crop for crop in crops])),
        crop_to_image=torch.from_numpy(np.stack([crop.crop_to_image for crop in crops])),
        sizes=tuple((crop.image.shape[0], crop.image.shape[1]) for crop in crops),
        shown=tuple(crop.shown or (crop.image.shape[0], crop.image.shape[1]) for crop in crops),
    )


def _stack_images(images: Sequence[np.ndarray]) -> Tensor:
    height = max(image.shape[0] for image in images)
    width = max(image.shape[1] for image in images)
    stacked = np.zeros((len(images), height, width, 3), np.uint8)
    for place, image in zip(stacked, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)  # (B, 3, H, W), channels last in memory


def _pad(arrays: Sequence[np.ndarray], value: float) -> Tensor:
    longest = max(len(array) for array in arrays)
    padded = np.full((len(arrays), longest, *arrays[0].shape[1:]), value, arrays[0].dtype)
    for place, array in zip(padded, arrays, strict=True):
        place[: len(array)] = array
    return torch.from_numpy(padded)
