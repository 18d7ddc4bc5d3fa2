"""The interface of a neck, and the choice of one of the backbone's maps by its level."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from dlcpose.structures.errors import ConfigError


class Neck(nn.Module, ABC):
    """From a backbone's maps to the one that the heads read.

    Every neck takes `level`, so that a model can state it for whichever neck is chosen: the index of the backbone's map,
    finest first, whose stride the output has; −1 is the deepest. level stands for it after `__init__` as 0 or more.
    out_channels, stride: of the output. Raises ConfigError where the backbone has no such level.
    """

    def __init__(self, strides: Sequence[int], level: int, out_channels: int) -> None:
        super().__init__()
        self.level = index_of_level(level, strides)
        self.out_channels, self.stride = out_channels, strides[self.level]

    @abstractmethod
    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, out_channels, h, w) at the neck's stride."""

    def attention_maps(self, features: Sequence[Tensor], points_in_crop: Tensor, layer: int) -> Tensor | None:
        """Attention weights of a layer, as `Head.attention_maps` gives them; None for a neck without attention."""
        return None


def index_of_level(level: int, strides: Sequence[int]) -> int:
    """A level, negative or not, as an index of 0 or more. Raises ConfigError where the backbone has no such map."""
    if not -len(strides) <= level < len(strides):
        raise ConfigError(
            f"neck.level={level}: the backbone has {len(strides)} maps, of strides {list(strides)}. "
            f"Take neck.level=0 to {len(strides) - 1}, or −1 for the deepest."
        )
    return level % len(strides)
