"""Box arithmetic: boxes are x1 y1 x2 y2 in pixels, whose centers are whole numbers."""

import torch
from torch import Tensor


def boxes_around_points(points: Tensor) -> Tensor:
    """The box around points: (..., P, 2) -> (..., 4). Points with NaN in x or y are left out; NaN where none is left."""
    missing = points.isnan().any(dim=-1, keepdim=True)
    lowest = points.masked_fill(missing, torch.inf).amin(dim=-2)
    highest = points.masked_fill(missing, -torch.inf).amax(dim=-2)
    return torch.cat([lowest, highest], dim=-1).masked_fill(missing.all(dim=-2), torch.nan)


def expand_boxes(boxes: Tensor, margin: float, min_size: float) -> Tensor:
    """Boxes (..., 4) grown on each side by `margin` times their longer side, each side at least `min_size` px."""
    sides = boxes[..., 2:] - boxes[..., :2]
    halves = (sides / 2 + margin * sides.amax(dim=-1, keepdim=True)).clamp(min=min_size / 2)
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    return torch.cat([centers - halves, centers + halves], dim=-1)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) clipped to an image of (height, width), up to its outer edges; NaN where nothing is left."""
    border = boxes.new_tensor([size[1] - 0.5, size[0] - 0.5])
    lowest = boxes[..., :2].clamp(min=-0.5)
    highest = boxes[..., 2:].minimum(border)
    is_empty = ~(highest > lowest).all(dim=-1, keepdim=True)  # true for NaN too
    return torch.cat([lowest, highest], dim=-1).masked_fill(is_empty, torch.nan)


def jitter_boxes(boxes: Tensor, draws: Tensor, *, shift: float, scale: float) -> Tensor:
    """Boxes (M, 4) shifted and scaled at random, as a detector's would be off: draws (M, 3) in [-1, 1].

    shift: maximum shift of the center in x and y, as a fraction of the longer side. scale: a box grows or shrinks by a
    factor of up to 1 + scale, both equally likely.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 + shift * draws[:, :2] * sides.amax(dim=-1, keepdim=True)
    halves = sides / 2 * (1 + scale) ** draws[:, 2:]
    return torch.cat([centers - halves, centers + halves], dim=-1)
