"""The interface of a side head: all that a pipeline may know of one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from dlcpose.heads.base import Maps
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances


class SideHead(nn.Module, ABC):
    """Network, targets and loss of an output other than poses, and how it is added to the predicted animals.

    An option's target may return None instead of a side head, where the data has nothing for it to predict. As with a head,
    those of in_channels, stride, skeleton, individuals and canvas that its signature names are given when it is built.
    """

    @abstractmethod
    def forward(self, features: Tensor) -> Maps:
        """Predicted maps from features (B, C, h, w)."""

    @abstractmethod
    def encode(self, batch: PoseBatch) -> Maps:
        """Target maps of a batch, drawn on its device; NaN where unsupervised."""

    @abstractmethod
    def loss(self, maps: Maps, targets: Maps) -> dict[str, Tensor]:
        """One scalar for each term, already weighted."""

    @abstractmethod
    def complete(self, instances: Sequence[PoseInstances], maps: Maps) -> list[PoseInstances]:
        """Each image's animals with the predictions of this head added."""
