"""Boxes and regions around the last poses, to predict the next frame in."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from dlcpose.codecs.affine import Matrix, apply_affine, invert_affine
from dlcpose.codecs.boxes import clip_boxes
from dlcpose.detectors.base import Boxes
from dlcpose.structures.input import round_up
from dlcpose.structures.instances import PosePrediction

MIN_SCORE = 0.1  # minimum score of a pose, or a keypoint, that defines a region
MIN_SIDE = 64  # px of the canvas


def boxes_around_last(
    last: PosePrediction | None,
    rule: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    canvas_to_image: Matrix,
    size: tuple[int, int],
    device: torch.device,
) -> Boxes | None:
    """Boxes around the poses of the last frame, by the rule that the detector was trained by; None where no animal was
    detected.

    In pixels of a canvas of (height, width). Their score is 1, since poses have scores of their own.
    """
    if last is None or not (last.scores >= MIN_SCORE).any():
        return None
    poses = last.keypoints_in_image[last.scores >= MIN_SCORE]  # (M, K, 2)
    in_canvas = torch.from_numpy(apply_affine(invert_affine(canvas_to_image), poses.astype(np.float64))).float()
    boxes = clip_boxes(rule(in_canvas, in_canvas.new_full((len(in_canvas), 4), torch.nan)), size)
    boxes = boxes[~boxes.isnan().any(dim=-1)].to(device)
    return Boxes(boxes, boxes.new_ones(len(boxes))) if len(boxes) else None


def region_around_last(
    last: PosePrediction | None,
    canvas_to_image: Matrix,
    canvas: tuple[int, int],
    *,
    multiple_of: int,
    margin: float = 0.5,
) -> tuple[int, int, int, int] | None:
    """The part of a canvas of (height, width) around one animal's last pose; None for all of it.

    x1 y1 x2 y2 in whole pixels, sides a multiple of what the backbone needs. margin: how much wider than the pose on
    each side, as a share of its longer side, which bounds how far the animal may move in a frame.
    """
    if last is None or is_lost(last):
        return None
    sure = last.keypoint_scores[0] >= MIN_SCORE
    points = apply_affine(invert_affine(canvas_to_image), last.keypoints_in_image[0][sure].astype(np.float64))
    points = points[~np.isnan(points).any(axis=-1)]
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max()) * margin
    (x1, x2), (y1, y2) = (
        _span(float(low[axis]) - extent, float(high[axis]) + extent, canvas[1 - axis], multiple_of) for axis in (0, 1)
    )
    is_whole = (y2 - y1, x2 - x1) == canvas
    return None if is_whole else (x1, y1, x2, y2)


def is_lost(prediction: PosePrediction) -> bool:
    """Whether the animal is lost: fewer than half of its keypoints have a sufficient score."""
    if not len(prediction):
        return True
    sure: npt.NDArray[np.bool_] = prediction.keypoint_scores[0] >= MIN_SCORE
    known = ~np.isnan(prediction.keypoints_in_image[0]).any(axis=-1)
    return bool(2 * (sure & known).sum() < len(sure)) or not (sure & known).any()


def _span(low: float, high: float, length: int, multiple_of: int) -> tuple[int, int]:
    """Whole pixels around low to high within a side of the canvas, a multiple long."""
    side = min(round_up(max(high - low + 1, MIN_SIDE), multiple_of), length)
    first = round((low + high - side + 1) / 2)
    first = max(0, min(first, length - side))
    return first, first + side
