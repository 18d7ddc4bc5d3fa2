"""Base class of heads: the interface that pipelines use."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from dlcpose.codecs.affine import size_in_cells
from dlcpose.codecs.graph_steps import GraphStep
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PoseInstances

Maps = Any  # a head's own NamedTuple of tensors: `forward` and `encode` return the same type


class SoftKeypoints(NamedTuple):
    """One animal's keypoints, decoded so that gradients flow to the maps, and how sure each is, without gradients."""

    keypoints_in_crop: Tensor  # (B, K, 2) input pixels
    scores: Tensor  # (B, K) in [0, 1]


class PafGraph(Protocol):
    """A head that groups keypoints into animals along edges, of which it may keep a part."""

    edges: tuple[tuple[int, int], ...]
    kept: Tensor  # (L,) bool

    def keep(self, edges: Any) -> None:
        """Group animals by these edges alone: (L,) bool."""

    def gt_affinities(self, maps: Maps, batch: PoseBatch) -> tuple[list[Any], list[Any]]:
        """The affinities of labeled animals: arrays per edge, those within animals and those between two."""


class Head(nn.Module, ABC):
    """Network, targets, loss and decoding of one kind of output.

    A head is built with those of these facts that its signature names: in_channels and stride of the neck's features;
    skeleton; individuals, the animals' names where the data has identities; canvas, the (height, width) of its input, None
    where that differs from image to image. multi_animal says whether it predicts several animals per image, max_animals how
    many at most, None for any number. decodes_softly: whether it has `soft_keypoints`, which losses on videos without labels
    need.
    """

    multi_animal: ClassVar[bool]
    decodes_softly: ClassVar[bool] = False
    max_animals: int | None = None
    stride: float  # input pixels per cell of the maps

    @abstractmethod
    def forward(self, features: Tensor) -> Maps:
        """Predicted maps from features (B, C, h, w)."""

    @abstractmethod
    def encode(self, batch: PoseBatch) -> Maps:
        """Target maps of a batch, drawn on its device; NaN where unsupervised."""

    @abstractmethod
    def loss(self, maps: Maps, targets: Maps) -> dict[str, Tensor]:
        """One scalar for each term, already weighted; training minimizes their sum."""

    @abstractmethod
    def decode(self, maps: Maps) -> list[PoseInstances]:
        """The animals in each image. `decode(encode(batch))` returns the labeled poses."""

    @property
    def paf_graph(self) -> PafGraph | None:
        """The head itself where it groups keypoints along edges that can be pruned, else None."""
        return None

    def soft_keypoints(self, maps: Maps) -> SoftKeypoints:
        """The keypoints of the one animal in each image, differentiable in the maps; of a head that decodes softly."""
        raise NotImplementedError(f"{type(self).__name__} does not decode softly.")

    def attention_maps(self, features: Tensor, points_in_crop: Tensor, layer: int) -> Tensor | None:
        """Attention weights of a layer at keypoints (B, K, 2) in pixels: (B, K, h, w); None for a head without attention.

        Raises IndexError for a layer that it does not have.
        """
        return None

    def decode_shown(self, maps: Maps, shown: Sequence[tuple[int, int]]) -> list[PoseInstances]:
        """`decode` of images with padding: (height, width) of what each shows of its frame, where the animals are.

        A head that predicts whatever its maps say, as one for a single animal does, looks for its peaks there alone.
        """
        return self.decode(maps)

    def graph_outputs(self, maps: Maps) -> dict[str, Tensor]:
        """What an exported graph gives of the maps, by name: tensors of the batch's length that `graph_step` reads.

        Raises ConfigError for a head that cannot be exported, which is one that does not define both.
        """
        raise _not_exported(self)

    def graph_step(self) -> GraphStep:
        """The step from a graph's outputs to animals, the same as `decode` from the maps."""
        raise _not_exported(self)

    def map_size(self, batch: PoseBatch) -> tuple[int, int]:
        """(h, w) of the maps of a batch's images."""
        return size_in_cells((batch.images.shape[-2], batch.images.shape[-1]), self.stride)


def _not_exported(head: Head) -> ConfigError:
    return ConfigError(
        f"head: {type(head).__name__} cannot be exported, as it has no graph_outputs and no graph_step. Take another head, "
        "or write them beside its decode."
    )
