"""Predicted conditions: the poses of a bottom-up model in the training frames."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from dlcpose.codecs.matching import match_by_similarity
from dlcpose.codecs.oks import compute_oks, oks_areas
from dlcpose.codecs.pose_conditions import PoseNoise, perturb_poses
from dlcpose.conditions.base import ConditionSource, DetectPoses, PoseConditions, join_frames
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.skeleton import Skeleton


class PredictedConditions(ConditionSource):
    """The detector's poses, each matched to a labeled animal by OKS; a pose without a match is background.

    min_oks: minimum OKS of a match. generate_missing: whether a labeled animal without a match gets a condition
    perturbed from its label, or is left out.
    A model predicts its own training frames better than any others, so that its conditions there are too good: take a
    model trained on other frames, or `condition=generated`.
    Raises ValueError for a min_oks that is not between 0 and 1.
    """

    needs_poses: ClassVar[bool] = True

    def __init__(self, skeleton: Skeleton, *, min_oks: float = 0.1, generate_missing: bool = True) -> None:
        if not 0 < min_oks < 1:
            raise ValueError(f"expected a min_oks between 0 and 1, got {min_oks}")
        self.skeleton, self.min_oks, self.generate_missing = skeleton, min_oks, generate_missing

    def conditions(
        self, batch: PoseBatch, detect_poses: DetectPoses, rngs: Sequence[np.random.Generator]
    ) -> PoseConditions:
        """One condition for each predicted pose, and for each labeled animal without a match."""
        keypoints, areas = batch.keypoints_in_crop.cpu().numpy(), batch.areas.cpu().numpy()
        predicted = [instances.keypoints_in_crop.float().cpu().numpy() for instances in detect_poses(batch)]
        of_frames = zip(keypoints, areas, predicted, rngs, strict=True)
        return join_frames([self._of_frame(*each) for each in of_frames], batch)

    def _of_frame(
        self, gt: np.ndarray, areas: np.ndarray, predicted: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        labeled = np.flatnonzero(~np.isnan(gt).any(axis=-1).all(axis=-1))
        gt, areas = gt[labeled], areas[labeled]
        oks = compute_oks(predicted, gt, oks_areas(areas, gt), np.asarray(self.skeleton.sigmas))  # (M, N)
        animals = np.full(len(predicted), -1, np.int64)
        for pose, animal in match_by_similarity(oks, self.min_oks):
            animals[pose] = labeled[animal]
        is_missing = ~np.isin(labeled, animals)
        if not self.generate_missing or not is_missing.any():
            return predicted, animals
        noisy = perturb_poses(gt, areas, self.skeleton.sigmas, self.skeleton.flip_order, PoseNoise(), rng).keypoints
        return np.concatenate([predicted, noisy[is_missing]]), np.concatenate([animals, labeled[is_missing]])
