"""Temporal smoothness: keypoints do not leap from frame to frame (Biderman et al. 2024, Lightning Pose)."""

from typing import Any

import numpy.typing as npt
from torch import Tensor
from torch.linalg import vector_norm

from dlcpose.structures.errors import ConfigError
from dlcpose.unlabeled.base import VideoLoss


class TemporalSmoothness(VideoLoss):
    """How far each keypoint moves between two frames of a clip beyond what an animal may.

    epsilon: pixels of the network's input that a keypoint may move from one frame of a clip to the next at no loss; set it
    above the fastest true movement. min_score: a keypoint that is less sure in one of two frames does not count there.
    Source: the temporal loss of Biderman et al. 2024, Nature Methods 21:1316.
    """

    def __init__(self, weight: float = 0.003, epsilon: float = 20.0, min_score: float = 0.05) -> None:
        super().__init__(weight)
        if not epsilon >= 0 or not 0 <= min_score <= 1:
            raise ConfigError(
                "unlabeled.losses.temporal_smoothness: expected an epsilon of 0 pixels or more and a min_score from 0 to 1, "
                f"got {epsilon} and {min_score}."
            )
        self.epsilon, self.min_score = epsilon, min_score

    def fit(self, poses_in_input: npt.NDArray[Any]) -> None:
        """Labels of single frames say nothing of movement."""

    def __call__(self, keypoints_in_input: Tensor, scores: Tensor) -> Tensor:
        moved = vector_norm(keypoints_in_input[:, 1:] - keypoints_in_input[:, :-1], dim=-1)  # (C, T - 1, K)
        is_sure = scores >= self.min_score
        counts = is_sure[:, 1:] & is_sure[:, :-1]
        excess: Tensor = (moved - self.epsilon).clamp(min=0) * counts
        return excess.sum() / counts.sum().clamp(min=1)
