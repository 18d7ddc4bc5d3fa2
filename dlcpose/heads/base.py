"""All that a pipeline may know of a head."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances

Maps = Any  # a head's own NamedTuple of tensors: `forward` and `encode` return the same type


class NoMaps(NamedTuple):
    """The maps of a head that has none."""


class Head(nn.Module, ABC):
    """Network, targets, loss and decoding of one kind of output.

    A head is built with what its signature names of: in_channels and stride of the neck's features; skeleton;
    individuals, the animals' names where the data tells them apart; canvas, the (height, width) of what it is shown,
    None where that differs from image to image. multi_animal says whether it can tell several animals in one image apart.
    """

    multi_animal: ClassVar[bool]
    stride: float  # input pixels to a cell of the maps

    @abstractmethod
    def forward(self, features: Tensor) -> Maps:
        """The maps found in features (B, C, h, w)."""

    @abstractmethod
    def encode(self, batch: PoseBatch) -> Maps:
        """The maps wanted for a batch, drawn on its device; NaN where nothing is asked."""

    @abstractmethod
    def loss(self, maps: Maps, wanted: Maps) -> dict[str, Tensor]:
        """One scalar for each term, already weighted; their sum is what training lowers."""

    @abstractmethod
    def decode(self, maps: Maps) -> list[PoseInstances]:
        """The animals in each image. `decode(activated(encode(batch)))` gives the labelled poses back."""
