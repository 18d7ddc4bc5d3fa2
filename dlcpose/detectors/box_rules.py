"""Rules for ground-truth boxes, on which detectors are trained and from which crops of labeled animals are cut."""

import torch
from torch import Tensor

from dlcpose.codecs.boxes import boxes_around_points, expand_boxes


def around_keypoints(
    keypoints_in_frame: Tensor, boxes_in_frame: Tensor, *, margin: float = 0.1, min_size: float = 16.0
) -> Tensor:
    """The box around the labeled keypoints; the data's own where fewer than two are labeled: (..., K, 2), (..., 4).

    margin: how much wider on each side, as a share of the longer side. min_size: minimum length of a side, px.
    Keypoints come first because a box grows when an image is rotated, as only its corners rotate with it. An animal with
    a single keypoint and no box in the data gets a box of min_size. Returns (..., 4), NaN where nothing is labeled.
    """
    return _with_stored(keypoints_in_frame, boxes_in_frame, margin, min_size, min_keypoints=2)


def padded_keypoints(keypoints_in_frame: Tensor, boxes_in_frame: Tensor, *, padding: float = 20.0) -> Tensor:
    """The box around the labeled keypoints, `padding` px wider on each side: (..., K, 2), (..., 4) -> (..., 4).

    The data's own boxes do not count. Source: the boxes that DeepLabCut trains detectors with.
    """
    boxes = boxes_around_points(keypoints_in_frame)
    return boxes + boxes.new_tensor([-padding, -padding, padding, padding])


def stored(
    keypoints_in_frame: Tensor, boxes_in_frame: Tensor, *, margin: float = 0.1, min_size: float = 16.0
) -> Tensor:
    """The data's own box, and one `around_keypoints` for animals without: (..., K, 2), (..., 4) -> (..., 4)."""
    return _with_stored(keypoints_in_frame, boxes_in_frame, margin, min_size, min_keypoints=None)


def _with_stored(keypoints: Tensor, boxes: Tensor, margin: float, min_size: float, min_keypoints: int | None) -> Tensor:
    around = expand_boxes(boxes_around_points(keypoints), margin, min_size)
    labeled = (~keypoints.isnan().any(dim=-1)).sum(dim=-1)
    is_enough = torch.zeros_like(labeled, dtype=torch.bool) if min_keypoints is None else labeled >= min_keypoints
    takes_stored = ~boxes.isnan().any(dim=-1) & ~is_enough
    return expand_boxes(boxes, 0.0, min_size).where(takes_stored[..., None], around)
