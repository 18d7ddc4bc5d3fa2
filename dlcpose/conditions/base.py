"""All that a pipeline may know of where conditions come from while it learns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances

DetectPoses = Callable[
    [PoseBatch], list[PoseInstances]
]  # the poses that the model behind the conditions finds in each frame


class PoseConditions(NamedTuple):
    """Poses by which a batch's animals are asked for. The frame is what the batch's images show."""

    keypoints_in_frame: Tensor  # (M, K, 2) px, NaN where missing
    owners: Tensor  # (M,) index of the frame, rising
    animals: Tensor  # (M,) index of the labelled animal that is meant, −1 for none


class ConditionSource(ABC):
    """Gives the animals of labelled frames the conditions that a network learns from.

    needs_poses: whether a model, or a file of its predictions, has to be there.
    """

    needs_poses: ClassVar[bool]

    @abstractmethod
    def conditions(self, batch: PoseBatch, find: DetectPoses, rngs: Sequence[np.random.Generator]) -> PoseConditions:
        """The conditions of a batch; chances: one generator for each frame, the only source of chance."""


def gather_cells(of_frames: Sequence[tuple[np.ndarray, np.ndarray]], batch: PoseBatch) -> PoseConditions:
    """The (poses (m, K, 2), animals (m,)) of each frame as one, on the batch's device."""
    device = batch.keypoints_in_crop.device
    poses = np.concatenate([poses for poses, _ in of_frames]).astype(np.float32)
    animals = np.concatenate([animals for _, animals in of_frames]).astype(np.int64)
    owners = np.repeat(np.arange(len(of_frames)), [len(animals) for _, animals in of_frames])
    return PoseConditions(*(torch.from_numpy(each).to(device) for each in (poses, owners, animals)))
