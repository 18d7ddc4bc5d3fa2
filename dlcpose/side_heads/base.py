"""All that a pipeline may know of a side head."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from dlcpose.heads.base import Maps
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances


class SideHead(nn.Module, ABC):
    """Network, targets and loss of something beside the animals' poses, and how it completes what was found of them.

    What a side head's option names may return None instead: the data has nothing for it to find. As with a head, what
    its signature names of in_channels, stride, skeleton, individuals and canvas comes when it is built.
    """

    @abstractmethod
    def forward(self, features: Tensor) -> Maps:
        """The maps found in features (B, C, h, w)."""

    @abstractmethod
    def encode(self, batch: PoseBatch) -> Maps:
        """The maps wanted for a batch, drawn on its device; NaN where nothing is asked."""

    @abstractmethod
    def loss(self, maps: Maps, wanted: Maps) -> dict[str, Tensor]:
        """One scalar for each term, already weighted."""

    @abstractmethod
    def complete(self, found: Sequence[PoseInstances], maps: Maps) -> list[PoseInstances]:
        """The animals of each image with what this head adds to them."""
