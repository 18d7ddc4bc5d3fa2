"""Generated conditions: labeled poses perturbed with the errors that bottom-up models make."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from dlcpose.codecs.pose_conditions import PoseNoise, background_pose, move_poses, perturb_poses
from dlcpose.conditions.base import ConditionSource, DetectPoses, PoseConditions, join_frames
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.skeleton import Skeleton


class GeneratedConditions(ConditionSource):
    """A condition for each labeled animal, perturbed anew each time; no bottom-up model is needed.

    jitter, miss, inversion, swap, absent, background: shares of errors, see `codecs.pose_conditions.PoseNoise`. moved: of
    the conditions, those that are moved and turned as a whole besides, as the last pose of a tracked animal is.
    Raises ValueError for values that are no probabilities.
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
        background: float = 0.05,
        moved: float = 0.3,
    ) -> None:
        if not 0 <= moved <= 1:
            raise ValueError(f"moved: expected a share from 0 to 1, got {moved}")
        self.skeleton, self.moved = skeleton, moved
        self.noise = PoseNoise(jitter, miss, inversion, swap, absent, background)

    def conditions(
        self, batch: PoseBatch, detect_poses: DetectPoses, rngs: Sequence[np.random.Generator]
    ) -> PoseConditions:
        """One condition for each labeled animal, and some of background."""
        keypoints, areas = batch.keypoints_in_crop.cpu().numpy(), batch.areas.cpu().numpy()
        size = (batch.images.shape[-2], batch.images.shape[-1])
        return join_frames(
            [self._of_frame(keypoints[frame], areas[frame], size, rng) for frame, rng in enumerate(rngs)],
            batch,
        )

    def _of_frame(
        self, gt: np.ndarray, areas: np.ndarray, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        labeled = np.flatnonzero(~np.isnan(gt).any(axis=-1).all(axis=-1))
        gt, areas = gt[labeled], areas[labeled]
        poses = perturb_poses(gt, areas, self.skeleton.sigmas, self.skeleton.flip_order, self.noise, rng).keypoints
        poses = move_poses(poses, gt, self.moved, rng)
        displaced = [background_pose(pose, gt, size, rng) for pose in poses if rng.random() < self.noise.background]
        background = [pose for pose in displaced if pose is not None]
        poses = np.concatenate([poses, *(pose[None] for pose in background)])
        return poses, np.append(labeled, [-1] * len(background))
