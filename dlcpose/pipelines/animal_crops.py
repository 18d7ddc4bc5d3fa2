"""Crops of single animals, cut out of the frames of a batch on the device."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dlcpose.codecs.affine import apply_affine, apply_affine_to_boxes, compose_affine
from dlcpose.codecs.boxes import jitter_boxes
from dlcpose.codecs.crop_images import crop_images, crop_matrices
from dlcpose.structures.batch import PoseBatch

CROPS_PER_PASS = 64  # through the network in prediction, so that memory does not grow with the number of animals


@dataclass(frozen=True)
class CropSettings:
    """Settings of a top-down model's crops: size and jitter, and which boxes and poses are kept.

    margin: how much wider than the box a crop is on each side, as a share of the box's longer side. min_size: px of the
    frame that a crop's longer side shows at least. shift, scale: of the jitter of training boxes, see
    `codecs.boxes.jitter_boxes`. threshold: minimum score of a box. nms_oks: two poses with this OKS or more are one animal.
    seed: of the jitter.
    Raises ValueError for a negative amount, or a min_size below 1.
    """

    margin: float = 0.15
    min_size: float = 32.0
    shift: float = 0.1
    scale: float = 0.25
    threshold: float = 0.3
    nms_oks: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        for name, minimum in (("margin", 0), ("shift", 0), ("scale", 0), ("min_size", 1)):
            if getattr(self, name) < minimum:
                raise ValueError(f"expected {name} of {minimum} or more, got {getattr(self, name)}")

    def jitter(self, boxes: Tensor, rng: np.random.Generator) -> Tensor:
        """Boxes (M, 4) randomly shifted and scaled, like a detector's errors."""
        draws = torch.from_numpy(rng.uniform(-1, 1, (len(boxes), 3))).to(boxes)
        return jitter_boxes(boxes, draws, shift=self.shift, scale=self.scale)


@dataclass(frozen=True)
class AnimalCrops:
    """M crops of one animal each, and where they were cut out."""

    batch: PoseBatch  # of the M crops
    frame_indices: Tensor  # (M,) place of each crop's frame in the batch of frames
    frame_to_crop: Tensor  # (M, 2, 3) float64
    crop_to_frame: Tensor  # (M, 2, 3) float64

    def __len__(self) -> int:
        return len(self.frame_indices)

    def split(self, count: int) -> list[Self]:
        """The crops, at most `count` at a time."""
        parts = torch.split(torch.arange(len(self)), count)
        return [
            replace(self, **{field.name: _take(getattr(self, field.name), part) for field in fields(self)})
            for part in parts
        ]

    def with_labels(self, frames: PoseBatch, animal_indices: Tensor) -> Self:
        """The crops, each labeled with one animal of its frame: animal_indices (M,), −1 for none."""
        places, is_background = self.frame_indices, animal_indices < 0
        keypoints = frames.keypoints_in_crop[places, animal_indices]
        keypoints = keypoints.masked_fill(is_background[:, None, None], torch.nan)
        areas = frames.areas[places, animal_indices].masked_fill(is_background, torch.nan)
        visibility = frames.visibility[places, animal_indices].masked_fill(is_background[:, None], 0)
        labeled = replace(
            self.batch,
            keypoints_in_crop=apply_affine(self.frame_to_crop, keypoints)[:, None],
            visibility=visibility[:, None],
            areas=(areas * self.frame_to_crop[:, 0, 0].float() ** 2)[:, None],
            identities=frames.identities[places, animal_indices].masked_fill(is_background, -1)[:, None],
        )
        return replace(self, batch=labeled)


def cut_crops(
    frames: PoseBatch, boxes_in_frame: Sequence[Tensor], size: tuple[int, int], settings: CropSettings
) -> AnimalCrops:
    """Crops of `size` (height, width) around the boxes (M, 4) of each frame, as uint8 images without labels."""
    boxes, places = boxes_of_frames(boxes_in_frame)
    frame_to_crop, crop_to_frame = crop_matrices(boxes, size, margin=settings.margin, min_size=settings.min_size)
    images = crop_images(frames.images, places, crop_to_frame, size)
    return crops_without_labels(frames, images, boxes, places, frame_to_crop, crop_to_frame)


def boxes_of_frames(boxes_in_frame: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The boxes (M, 4) of all frames, and the place of each one's frame in the batch: (M,)."""
    boxes = torch.cat(list(boxes_in_frame))
    counts = torch.tensor([len(each) for each in boxes_in_frame], device=boxes.device)
    return boxes, torch.arange(len(counts), device=boxes.device).repeat_interleave(counts)


def crops_without_labels(
    frames: PoseBatch, images: Tensor, boxes: Tensor, places: Tensor, frame_to_crop: Tensor, crop_to_frame: Tensor
) -> AnimalCrops:
    """Crops of frames whose images (M, 3, H, W) are cut already.

    boxes, places: (M, 4) and (M,), as `boxes_of_frames` gives them. frame_to_crop, crop_to_frame: (M, 2, 3).
    """
    count, keypoints = len(boxes), frames.keypoints_in_crop.shape[2]
    batch = PoseBatch(
        keys=tuple(frames.keys[place] for place in places.tolist()),
        images=images,
        keypoints_in_crop=boxes.new_full((count, 1, keypoints, 2), torch.nan),
        visibility=torch.zeros((count, 1, keypoints), dtype=torch.int64, device=boxes.device),
        boxes_in_crop=apply_affine_to_boxes(frame_to_crop, boxes)[:, None],
        areas=boxes.new_full((count, 1), torch.nan),
        identities=torch.full((count, 1), -1, device=boxes.device),
        unique_in_crop=boxes.new_zeros((count, 0, 2)),
        crop_to_image=compose_affine(frames.crop_to_image[places], crop_to_frame),
    )
    return AnimalCrops(batch, places, frame_to_crop, crop_to_frame)


def _take(content: Any, indices: Tensor) -> Any:
    """Some entries of what has one for each crop: a tensor, a tuple, or a batch of them."""
    if isinstance(content, Tensor):
        return content[indices.to(content.device)]
    if isinstance(content, tuple):
        return tuple(content[index] for index in indices.tolist()) if content else content
    return replace(content, **{field.name: _take(getattr(content, field.name), indices) for field in fields(content)})
