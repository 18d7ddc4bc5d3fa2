"""Pose PCA: poses of a video lie in the subspace that labeled poses span (Biderman et al. 2024, Lightning Pose)."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.linalg import vector_norm

from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.unlabeled.base import VideoLoss

MIN_POSES = 10  # complete ones: of fewer the components are those of single labels


class PosePca(VideoLoss):
    """How far each keypoint lies from its place in the nearest pose of the subspace that training poses span.

    explained: share of the labels' variance that the kept components explain. epsilon: pixels of the network's input that a
    keypoint may lie off at no loss; None: as far as the keypoints of the training poses do.
    Only poses with all keypoints labeled count; places in the frame are a part of a pose, as the camera stands still.
    Raises DataError from `fit` where fewer than MIN_POSES are complete.
    Source: the single-view pose PCA loss of Biderman et al. 2024, Nature Methods 21:1316.
    """

    def __init__(self, weight: float = 0.003, explained: float = 0.99, epsilon: float | None = None) -> None:
        super().__init__(weight)
        if not 0 < explained <= 1 or (epsilon is not None and not epsilon >= 0):
            raise ConfigError(
                "unlabeled.losses.pose_pca: expected explained above 0 and up to 1, and an epsilon of null or 0 pixels and "
                f"more, got {explained} and {epsilon}."
            )
        self.explained, self.given_epsilon = explained, epsilon
        self.mean, self.components = torch.zeros(0), torch.zeros(0, 0)  # (2K,), (D, 2K), once it is fitted
        self.epsilon = 0.0

    def fit(self, poses_in_input: npt.NDArray[Any]) -> None:
        complete = poses_in_input[~np.isnan(poses_in_input).any(axis=(1, 2))].reshape(-1, poses_in_input[0].size)
        if len(complete) < MIN_POSES:
            raise DataError(
                f"unlabeled.losses.pose_pca: expected {MIN_POSES} training animals or more with all keypoints labeled, got "
                f"{len(complete)}. Label more, or take unlabeled/losses=temporal_smoothness."
            )
        mean = complete.mean(axis=0)
        _, deviations, components = np.linalg.svd(complete - mean, full_matrices=False)
        shares = np.cumsum(deviations**2) / max(float((deviations**2).sum()), 1e-12)
        kept = int(np.searchsorted(shares, min(self.explained, shares[-1]))) + 1
        self.mean = torch.from_numpy(mean.astype(np.float32))
        self.components = torch.from_numpy(components[:kept].astype(np.float32))
        errors = self.errors(torch.from_numpy(complete.astype(np.float32).reshape(len(complete), -1, 2)))
        self.epsilon = float(errors.max()) if self.given_epsilon is None else self.given_epsilon

    def errors(self, keypoints_in_input: Tensor) -> Tensor:
        """The distance of each keypoint from the subspace's nearest pose: (..., K, 2) -> (..., K) px."""
        mean, components = (each.to(keypoints_in_input.device) for each in (self.mean, self.components))
        # In full precision also under autocast: squares of hundreds of pixels have no place in half of it.
        with torch.autocast(keypoints_in_input.device.type, enabled=False):
            centered = keypoints_in_input.float().flatten(start_dim=-2) - mean  # (..., 2K)
            outside = centered - centered @ components.T @ components
        distances: Tensor = vector_norm(outside.reshape(keypoints_in_input.shape), dim=-1)
        return distances

    def __call__(self, keypoints_in_input: Tensor, scores: Tensor) -> Tensor:
        return (self.errors(keypoints_in_input) - self.epsilon).clamp(min=0).mean()
