"""Conditions from what a bottom-up model finds in the very frames that are learned from."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from dlcpose.codecs.matching import match_by_similarity
from dlcpose.codecs.oks import compute_oks, oks_areas
from dlcpose.codecs.pose_conditions import PoseNoise, perturb_poses
from dlcpose.conditions.base import ConditionSource, DetectPoses, PoseConditions, gather_cells
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.skeleton import Skeleton


class PredictedConditions(ConditionSource):
    """Found poses, each asked for the labelled animal it tells of; what tells of none is asked for nobody.

    min_similarity: object keypoint similarity from which a found pose tells of an animal. completed: give animals that
    were not found a condition drawn from their label, or leave them out.
    A model that learned from the same frames finds them better than any others: `condition=generated` does not, and a
    model or file that was made from other frames is the fairer source.
    """

    needs_poses: ClassVar[bool] = True

    def __init__(self, skeleton: Skeleton, *, min_similarity: float = 0.1, completed: bool = True) -> None:
        if not 0 < min_similarity < 1:
            raise ValueError(f"expected a min_similarity between 0 and 1, got {min_similarity}")
        self.skeleton, self.min_similarity, self.completed = skeleton, min_similarity, completed

    def conditions(self, batch: PoseBatch, find: DetectPoses, rngs: Sequence[np.random.Generator]) -> PoseConditions:
        """One for each found pose, and for each animal that was not found."""
        keypoints, areas = batch.keypoints_in_crop.cpu().numpy(), batch.areas.cpu().numpy()
        found = [instances.keypoints_in_crop.float().cpu().numpy() for instances in find(batch)]
        of_frames = zip(keypoints, areas, found, rngs, strict=True)
        return gather_cells([self._of_frame(*each) for each in of_frames], batch)

    def _of_frame(
        self, gt: np.ndarray, areas: np.ndarray, found: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        labelled = np.flatnonzero(~np.isnan(gt).any(axis=-1).all(axis=-1))
        gt, areas = gt[labelled], areas[labelled]
        similarity = compute_oks(found, gt, oks_areas(areas, gt), np.asarray(self.skeleton.sigmas))  # (M, N)
        animals = np.full(len(found), -1, np.int64)
        for pose, animal in match_by_similarity(similarity, self.min_similarity):
            animals[pose] = labelled[animal]
        false_negatives = ~np.isin(labelled, animals)
        if not self.completed or not false_negatives.any():
            return found, animals
        drawn = perturb_poses(gt, areas, self.skeleton.sigmas, self.skeleton.flip_order, PoseNoise(), rng).keypoints
        return np.concatenate([found, drawn[false_negatives]]), np.concatenate([animals, labelled[false_negatives]])
