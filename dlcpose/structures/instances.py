"""The animals found: in the crop's pixels as a head decodes them, in the image's as everyone else wants them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PoseInstances:
    """What a head decodes from one image of a batch.

    keypoints_in_crop: (M, K, 2) pixels, NaN where a keypoint was not found. keypoint_scores: (M, K) in [0, 1].
    scores: (M,) in [0, 1], of the animals. identities: (M,) index of the individual, -1 where not asked.
    unique_in_crop: (U, 2) and unique_scores: (U,), the points of the arena.
    """

    keypoints_in_crop: Tensor
    keypoint_scores: Tensor
    scores: Tensor
    identities: Tensor
    unique_in_crop: Tensor
    unique_scores: Tensor

    def __len__(self) -> int:
        return len(self.scores)


def instances_of(
    keypoints_in_crop: Tensor,
    keypoint_scores: Tensor,
    scores: Tensor | None = None,
    *,
    identities: Tensor | None = None,
    unique_in_crop: Tensor | None = None,
    unique_scores: Tensor | None = None,
) -> PoseInstances:
    """PoseInstances with what a head does not know filled in; an animal's score is its keypoints' mean unless given."""
    like = keypoint_scores
    return PoseInstances(
        keypoints_in_crop=keypoints_in_crop,
        keypoint_scores=keypoint_scores,
        scores=keypoint_scores.mean(dim=-1) if scores is None else scores,
        identities=torch.full((len(like),), -1, device=like.device) if identities is None else identities,
        unique_in_crop=like.new_zeros((0, 2)) if unique_in_crop is None else unique_in_crop,
        unique_scores=like.new_zeros(0) if unique_scores is None else unique_scores,
    )


@dataclass(frozen=True)
class PosePrediction:
    """The animals found in one frame, in the pixels of the source image, as numpy.

    key: the frame's name. keypoints_in_image: (M, K, 2), NaN where not found. keypoint_scores: (M, K). scores: (M,).
    identities: (M,). unique_in_image: (U, 2), unique_scores: (U,). boxes_in_image: (M, 4), NaN where no detector spoke.
    """

    key: str
    keypoints_in_image: Floats
    keypoint_scores: Floats
    scores: Floats
    identities: Integers
    unique_in_image: Floats
    unique_scores: Floats
    boxes_in_image: Floats

    def __len__(self) -> int:
        return len(self.scores)
