"""Base class of condition sources, which make the pose conditions that a conditional top-down model is trained with."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances

DetectPoses = Callable[[PoseBatch], list[PoseInstances]]  # the poses of the detector in each frame, in its pixels


class PoseConditions(NamedTuple):
    """The M pose conditions of a batch of frames, in the pixels of its images."""

    keypoints_in_frame: Tensor  # (M, K, 2) px, NaN where missing
    frame_indices: Tensor  # (M,) place of the frame in the batch, ascending
    animal_indices: Tensor  # (M,) place of the labeled animal that the condition belongs to, −1 for background


class ConditionSource(ABC):
    """Makes the pose conditions of labeled frames that a conditional model is trained with.

    needs_poses: whether it takes them from a detector's poses.
    """

    needs_poses: ClassVar[bool]

    @abstractmethod
    def conditions(
        self, batch: PoseBatch, detect_poses: DetectPoses, rngs: Sequence[np.random.Generator]
    ) -> PoseConditions:
        """The conditions of a batch. rngs: one for each frame; nothing else is random."""


def join_frames(of_frames: Sequence[tuple[np.ndarray, np.ndarray]], batch: PoseBatch) -> PoseConditions:
    """The (poses (m, K, 2), animal indices (m,)) of each frame as the conditions of a batch, on its device."""
    device = batch.keypoints_in_crop.device
    poses = np.concatenate([poses for poses, _ in of_frames]).astype(np.float32)
    animals = np.concatenate([animals for _, animals in of_frames]).astype(np.int64)
    frames = np.repeat(np.arange(len(of_frames)), [len(animals) for _, animals in of_frames])
    return PoseConditions(*(torch.from_numpy(each).to(device) for each in (poses, frames, animals)))
