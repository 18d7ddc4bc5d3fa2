"""Base class of side heads: the interface that pipelines use."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from dlcpose.codecs.graph_steps import GraphStep
from dlcpose.heads.base import Maps
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PoseInstances


class SideHead(nn.Module, ABC):
    """Network, targets and loss of an output other than poses, and how it is added to the predicted animals.

    An option's target may return None instead of a side head, where the data has no such labels. As with a head, those
    of in_channels, stride, skeleton, individuals and canvas that its signature names are given when it is built.
    finds_unique: whether it adds the unique keypoints.
    """

    finds_unique: ClassVar[bool] = False

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

    def complete_shown(
        self, instances: Sequence[PoseInstances], maps: Maps, shown: Sequence[tuple[int, int]]
    ) -> list[PoseInstances]:
        """`complete` for images with padding: (height, width) of what each shows of its frame."""
        return self.complete(instances, maps)

    def graph_outputs(self, maps: Maps) -> dict[str, Tensor]:
        """What an exported graph gives of the maps, by name: tensors of the batch's length that `graph_step` reads.

        Raises ConfigError for a side head that cannot be exported, which is one that does not define both.
        """
        raise _not_exported(self)

    def graph_step(self) -> GraphStep:
        """How a graph's outputs are added to the animals: as `complete` adds the maps."""
        raise _not_exported(self)


def _not_exported(side_head: SideHead) -> ConfigError:
    return ConfigError(
        f"side_head: {type(side_head).__name__} cannot be exported, as it has no graph_outputs and no graph_step. Train "
        "without it, or write them beside its complete."
    )
