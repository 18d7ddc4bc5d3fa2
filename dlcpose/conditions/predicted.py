"""Conditions from what a bottom-up model finds in the very frames that are learned from."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from dlcpose.codecs.conditions import Errors, spoiled
from dlcpose.codecs.oks import areas_for_oks, oks
from dlcpose.codecs.pairing import assigned
from dlcpose.conditions.base import Conditions, ConditionSource, Find, gathered
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.skeleton import Skeleton


class PredictedConditions(ConditionSource):
    """Found poses, each asked for the labelled animal it tells of; what tells of none is asked for nobody.

    least_similarity: object keypoint similarity from which a found pose tells of an animal. completed: give animals that
    were not found a condition drawn from their label, or leave them out.
    A model that learned from the same frames finds them better than any others: `condition=generated` does not, and a
    model or file that was made from other frames is the fairer source.
    """

    needs_poses: ClassVar[bool] = True

    def __init__(self, skeleton: Skeleton, *, least_similarity: float = 0.1, completed: bool = True) -> None:
        if not 0 < least_similarity < 1:
            raise ValueError(f"expected a least_similarity between 0 and 1, got {least_similarity}")
        self.skeleton, self.least_similarity, self.completed = skeleton, least_similarity, completed

    def conditions(self, batch: PoseBatch, find: Find, chances: Sequence[np.random.Generator]) -> Conditions:
        """One for each found pose, and for each animal that was not found."""
        keypoints, areas = batch.keypoints_in_crop.cpu().numpy(), batch.areas.cpu().numpy()
        found = [instances.keypoints_in_crop.float().cpu().numpy() for instances in find(batch)]
        of_frames = zip(keypoints, areas, found, chances, strict=True)
        return gathered([self._of_frame(*each) for each in of_frames], batch)

    def _of_frame(
        self, truth: np.ndarray, areas: np.ndarray, found: np.ndarray, chance: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        labelled = np.flatnonzero(~np.isnan(truth).any(axis=-1).all(axis=-1))
        truth, areas = truth[labelled], areas[labelled]
        similarity = oks(found, truth, areas_for_oks(areas, truth), np.asarray(self.skeleton.sigmas))  # (M, N)
        animals = np.full(len(found), -1, np.int64)
        for pose, animal in assigned(similarity, self.least_similarity):
            animals[pose] = labelled[animal]
        missed = ~np.isin(labelled, animals)
        if not self.completed or not missed.any():
            return found, animals
        drawn = spoiled(truth, areas, self.skeleton.sigmas, self.skeleton.flip_order, Errors(), chance).keypoints
        return np.concatenate([found, drawn[missed]]), np.concatenate([animals, labelled[missed]])
