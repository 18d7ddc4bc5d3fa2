"""Base class of losses on unlabeled videos."""

from abc import ABC, abstractmethod
from typing import Any

import numpy.typing as npt
from torch import Tensor

from dlcpose.structures.errors import ConfigError


class VideoLoss(ABC):
    """A term of the loss on clips of a video, a part of `unlabeled.losses`; subclasses state their own settings.

    weight: factor of the mean over keypoints, which is in pixels of the network's input; 0 leaves the term out.
    Raises ConfigError for a negative weight.
    """

    def __init__(self, weight: float) -> None:
        if not weight >= 0:
            raise ConfigError(
                f"unlabeled.losses: expected a weight of 0 or more for {type(self).__name__}, got {weight}."
            )
        self.weight = weight

    @abstractmethod
    def fit(self, poses_in_input: npt.NDArray[Any]) -> None:
        """Learn what there is to know from the labels: (P, K, 2) input pixels of the animals, NaN where missing."""

    @abstractmethod
    def __call__(self, keypoints_in_input: Tensor, scores: Tensor) -> Tensor:
        """The mean loss in input pixels, without the weight: of clips (C, T, K, 2) and their scores (C, T, K) -> a scalar."""
