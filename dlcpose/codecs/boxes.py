"""Boxes around animals, and the crop that is cut around each: x1 y1 x2 y2 in pixels whose centres are whole numbers.

The frame is the image that boxes are found in, the crop what of it a head is shown. Moves are computed in float64: at
a few thousand pixels, float32 would lose a hundredth of one on the way there and back.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Crops(NamedTuple):
    """Where M crops lie in their frames: matrices (M, 2, 3) float64 of both ways."""

    frame_to_crop: Tensor
    crop_to_frame: Tensor


def crops_around(boxes_in_frame: Tensor, size: tuple[int, int], *, margin: float, min_size: float) -> Crops:
    """The crop of (height, width) around each box (M, 4).

    A box is widened on all sides by `margin` times its longer side, grown about its centre to the crop's shape, and
    scaled to it, x and y alike, so that its outer edges are those of the crop's outermost pixels. smallest: what the
    crop's longer side shows at least, in pixels of the frame: the box of a single keypoint has no size of its own.
    """
    boxes = boxes_in_frame.double()
    height, width = size
    sides = boxes[:, 2:] - boxes[:, :2]  # (M, 2)
    sides = sides + 2 * margin * sides.amax(dim=-1, keepdim=True)
    scale = (sides / sides.new_tensor([width, height])).amax(dim=-1)  # (M,) pixels of the frame to one of the crop
    scale = scale.clamp(min=min_size / max(size))
    middle_of_crop = sides.new_tensor([(width - 1) / 2, (height - 1) / 2])
    middle_in_frame = (boxes[:, :2] + boxes[:, 2:]) / 2
    return Crops(
        frame_to_crop=_scale_and_shift(1 / scale, middle_of_crop - middle_in_frame / scale[:, None]),
        crop_to_frame=_scale_and_shift(scale, middle_in_frame - middle_of_crop * scale[:, None]),
    )


def transform_points(from_to_to: Tensor, points: Tensor) -> Tensor:
    """Points through matrices in float64, given back in their own type: (M, 2, 3), (M, ..., 2) -> (M, ..., 2)."""
    flat = points.double().flatten(start_dim=1, end_dim=-2)  # (M, P, 2)
    moved = flat @ from_to_to[:, :, :2].mT + from_to_to[:, None, :, 2]
    return moved.to(points.dtype).view(points.shape)


def transform_boxes(from_to_to: Tensor, boxes: Tensor) -> Tensor:
    """The upright boxes around boxes that went through matrices: (M, 2, 3), (M, 4) -> (M, 4)."""
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]]  # (M, 4, 2)
    return boxes_around_points(transform_points(from_to_to, corners))


def compose_affine(second: Tensor, first: Tensor) -> Tensor:
    """The matrices that apply `first`, then `second`: crop_to_image = chained(frame_to_image, crop_to_frame)."""
    linear = second[..., :2] @ first[..., :2]
    return torch.cat([linear, second[..., :2] @ first[..., 2:] + second[..., 2:]], dim=-1)


def boxes_around_points(points: Tensor) -> Tensor:
    """The box around known points: (..., P, 2) -> (..., 4), NaN where none is known (NaN in x or y is not)."""
    missing = points.isnan().any(dim=-1, keepdim=True)
    lowest = points.masked_fill(missing, torch.inf).amin(dim=-2)
    highest = points.masked_fill(missing, -torch.inf).amax(dim=-2)
    return torch.cat([lowest, highest], dim=-1).masked_fill(missing.all(dim=-2), torch.nan)


def expand_boxes(boxes: Tensor, margin: float, min_size: float) -> Tensor:
    """Boxes (..., 4) wider on each side by `margin` times their longer side, and no side below `smallest` px."""
    sides = boxes[..., 2:] - boxes[..., :2]
    halves = (sides / 2 + margin * sides.amax(dim=-1, keepdim=True)).clamp(min=min_size / 2)
    middles = (boxes[..., :2] + boxes[..., 2:]) / 2
    return torch.cat([middles - halves, middles + halves], dim=-1)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """What of boxes (..., 4) lies in a frame of (height, width); NaN where nothing does."""
    border = boxes.new_tensor([size[1] - 0.5, size[0] - 0.5])
    lowest = boxes[..., :2].clamp(min=-0.5)
    highest = boxes[..., 2:].minimum(border)
    is_empty = ~(highest > lowest).all(dim=-1, keepdim=True)  # of NaN too
    return torch.cat([lowest, highest], dim=-1).masked_fill(is_empty, torch.nan)


def jitter_boxes(boxes: Tensor, draws: Tensor, *, shift: float, scale: float) -> Tensor:
    """Boxes (M, 4) moved and resized by chance, as a detector would miss: draws (M, 3) in [-1, 1].

    shift: the most a middle moves in x and y, as a share of the longer side. scale: a box becomes up to 1 + scale times
    as large, or as small, both as likely.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 + shift * draws[:, :2] * sides.amax(dim=-1, keepdim=True)
    halves = sides / 2 * (1 + scale) ** draws[:, 2:]
    return torch.cat([middles - halves, middles + halves], dim=-1)


def _scale_and_shift(scale: Tensor, shift: Tensor) -> Tensor:
    """(M,), (M, 2) -> (M, 2, 3)."""
    return torch.cat([torch.diag_embed(scale[:, None].expand(-1, 2)), shift[..., None]], dim=-1)
