"""Which box is an animal's own: the rules that detectors are trained by, and crops of labelled animals are cut by."""

import torch
from torch import Tensor

from dlcpose.codecs.boxes import boxes_around_points, expand_boxes


def around_keypoints(
    keypoints_in_frame: Tensor, boxes_in_frame: Tensor, *, margin: float = 0.1, min_size: float = 16.0
) -> Tensor:
    """The box around the labelled keypoints; the data's own where fewer than two are labelled: (..., K, 2), (..., 4).

    margin: how much wider on each side, as a share of the longer side. smallest: least length of a side, in px.
    Keypoints come first because the data's boxes grow when an image is turned: only their corners turn with it. An
    animal with a single keypoint and no box of the data's gets one of the smallest size. Returns (..., 4), NaN where
    nothing is known.
    """
    return _with_stored(keypoints_in_frame, boxes_in_frame, margin, min_size, min_keypoints=2)


def stored(
    keypoints_in_frame: Tensor, boxes_in_frame: Tensor, *, margin: float = 0.1, min_size: float = 16.0
) -> Tensor:
    """The data's own box, and one `around_keypoints` for animals without: (..., K, 2), (..., 4) -> (..., 4)."""
    return _with_stored(keypoints_in_frame, boxes_in_frame, margin, min_size, min_keypoints=None)


def _with_stored(keypoints: Tensor, boxes: Tensor, margin: float, min_size: float, min_keypoints: int | None) -> Tensor:
    around = expand_boxes(boxes_around_points(keypoints), margin, min_size)
    labelled = (~keypoints.isnan().any(dim=-1)).sum(dim=-1)
    is_enough = torch.zeros_like(labelled, dtype=torch.bool) if min_keypoints is None else labelled >= min_keypoints
    takes_stored = ~boxes.isnan().any(dim=-1) & ~is_enough
    return expand_boxes(boxes, 0.0, min_size).where(takes_stored[..., None], around)
