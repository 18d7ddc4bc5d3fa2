"""Batches of unlabeled frames on the model's canvas: the same as `fit_to_canvas` and `collate`, but faster."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.affine import Matrix, compose_affine, crop_matrix, flip_matrix, invert_affine, place_on_canvas
from dlcpose.codecs.image_resize import resize_images
from dlcpose.datasets.crops import resize_onto
from dlcpose.detectors.base import Boxes
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import InputError
from dlcpose.structures.input import Input
from dlcpose.structures.sample import Image
from dlcpose.structures.skeleton import Skeleton

Region = tuple[int, int, int, int]  # x1 y1 x2 y2 in pixels of the canvas, x2 and y2 excluded


@dataclass(frozen=True)
class Placement:
    """The place of frames of one size on a model's canvas.

    scaled, canvas: (height, width) of the frame as it is scaled, and of the canvas with its padding right and below.
    canvas_to_image: (2, 3), to pixels of the full frame where frames are crops of it.
    """

    scaled: tuple[int, int]
    canvas: tuple[int, int]
    canvas_to_image: Matrix


def place_frames(model_input: Input, size: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> Placement:
    """The placement of frames of (height, width) whose first pixel is `origin` (x, y) of the full frame."""
    frame_to_canvas, scaled, canvas = place_on_canvas(model_input, size)
    frame_to_image = invert_affine(crop_matrix(*origin))
    return Placement(scaled, canvas, compose_affine(frame_to_image, invert_affine(frame_to_canvas)))


def batch_of_frames(
    images: Sequence[Image], keys: Sequence[str], placement: Placement, skeleton: Skeleton, device: torch.device
) -> PoseBatch:
    """Frames (H, W, 3) of one size as a batch on a device, without labels.

    On a CPU OpenCV resizes; a GPU is handed the frames as they are and resizes them itself.
    """
    stacked = _stacked(images, placement, device)
    count, keypoints, unique = len(images), len(skeleton), len(skeleton.unique)
    canvas_to_image = torch.from_numpy(placement.canvas_to_image).expand(count, 2, 3)
    return PoseBatch(
        keys=tuple(keys),
        images=stacked,
        keypoints_in_crop=torch.zeros((count, 0, keypoints, 2), device=device),
        visibility=torch.zeros((count, 0, keypoints), dtype=torch.int64, device=device),
        boxes_in_crop=torch.zeros((count, 0, 4), device=device),
        areas=torch.zeros((count, 0), device=device),
        identities=torch.zeros((count, 0), dtype=torch.int64, device=device),
        unique_in_crop=torch.zeros((count, unique, 2), device=device),
        crop_to_image=canvas_to_image.to(device),
        sizes=(placement.canvas,) * count,
        shown=(placement.scaled,) * count,
    )


def mirrored(batch: PoseBatch, scaled: tuple[int, int]) -> PoseBatch:
    """A batch with the frames' content of (height, width) mirrored; the padding stays in place."""
    height, width = scaled
    images = batch.images.clone()
    images[..., :height, :width] = batch.images[..., :height, :width].flip(-1)
    flip = batch.crop_to_image.new_tensor(flip_matrix(width))
    return replace(batch, images=images, crop_to_image=compose_affine(batch.crop_to_image, flip))


def mirrored_boxes(boxes: Boxes, scaled: tuple[int, int]) -> Boxes:
    """The boxes of one frame as they lie in `mirrored`."""
    x1, y1, x2, y2 = boxes.boxes_in_frame.unbind(dim=-1)
    return boxes._replace(boxes_in_frame=torch.stack([scaled[1] - 1 - x2, y1, scaled[1] - 1 - x1, y2], dim=-1))


def cut_region(batch: PoseBatch, region: Region) -> PoseBatch:
    """A region of a batch's canvas, at the same scale."""
    x1, y1, x2, y2 = region
    shift = batch.crop_to_image.new_tensor(crop_matrix(-x1, -y1))
    return replace(
        batch,
        images=batch.images[..., y1:y2, x1:x2].contiguous(memory_format=torch.channels_last),
        crop_to_image=compose_affine(batch.crop_to_image, shift),
        sizes=((y2 - y1, x2 - x1),) * len(batch),
        shown=tuple((max(1, min(height, y2) - y1), max(1, min(width, x2) - x1)) for height, width in batch.shown),
    )


def _stacked(images: Sequence[Image], placement: Placement, device: torch.device) -> Tensor:
    """(B, 3, H, W) uint8 on the device, channels last in memory."""
    on_device = device.type != "cpu"
    size = (images[0].shape[0], images[0].shape[1])
    held = size if on_device else placement.scaled
    is_padded = not on_device and placement.canvas != placement.scaled
    make = torch.zeros if is_padded else torch.empty
    shape = (len(images), *(held if on_device else placement.canvas), 3)
    memory = make(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    arrays = memory.numpy()
    for place, image in zip(arrays, images, strict=True):
        place[: held[0], : held[1]] = image if on_device else resize_onto(image, placement.scaled, placement.scaled)
    stacked = memory.to(device, non_blocking=True).permute(0, 3, 1, 2)
    if not on_device:
        return stacked
    if placement.scaled != size:
        stacked = resize_images(stacked, placement.scaled)
    below, right = (whole - part for whole, part in zip(placement.canvas, placement.scaled, strict=True))
    return functional.pad(stacked, (0, right, 0, below)) if below or right else stacked


def as_rgb_frame(image: Image, key: str) -> Image:
    """An image that is a frame (H, W, 3) uint8 RGB. Raises InputError for any other."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"{key}: expected an image (H, W, 3) uint8 RGB, got {type(image).__name__}.")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(f"{key}: expected an image (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}.")
    return image
