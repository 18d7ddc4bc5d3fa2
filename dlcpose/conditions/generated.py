"""Conditions from the labels: true poses with the errors that bottom-up models make."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from dlcpose.codecs.conditions import Errors, elsewhere, spoiled
from dlcpose.conditions.base import Conditions, ConditionSource, Find, gathered
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.skeleton import Skeleton


class GeneratedConditions(ConditionSource):
    """A condition for each labelled animal, drawn anew each time; no bottom-up model is needed.

    jitter, miss, inversion, swap, absent, nobody: see `codecs.conditions.Errors`.
    """

    needs_poses: ClassVar[bool] = False

    def __init__(
        self,
        skeleton: Skeleton,
        *,
        jitter: float = 0.16,
        miss: float = 0.10,
        inversion: float = 0.03,
        swap: float = 0.08,
        absent: float = 0.05,
        nobody: float = 0.05,
    ) -> None:
        self.skeleton = skeleton
        self.errors = Errors(jitter, miss, inversion, swap, absent, nobody)

    def conditions(self, batch: PoseBatch, find: Find, chances: Sequence[np.random.Generator]) -> Conditions:
        """One for each labelled animal, and some of nobody."""
        keypoints, areas = batch.keypoints_in_crop.cpu().numpy(), batch.areas.cpu().numpy()
        size = (batch.images.shape[-2], batch.images.shape[-1])
        return gathered(
            [self._of_frame(keypoints[frame], areas[frame], size, chance) for frame, chance in enumerate(chances)],
            batch,
        )

    def _of_frame(
        self, truth: np.ndarray, areas: np.ndarray, size: tuple[int, int], chance: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        labelled = np.flatnonzero(~np.isnan(truth).any(axis=-1).all(axis=-1))
        truth, areas = truth[labelled], areas[labelled]
        poses = spoiled(truth, areas, self.skeleton.sigmas, self.skeleton.flip_order, self.errors, chance).keypoints
        wrong = [elsewhere(pose, truth, size, chance) for pose in poses if chance.random() < self.errors.nobody]
        nobodys = [pose for pose in wrong if pose is not None]
        return np.concatenate([poses, *(pose[None] for pose in nobodys)]), np.append(labelled, [-1] * len(nobodys))
