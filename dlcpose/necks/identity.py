"""One of the backbone's maps, unchanged."""

from collections.abc import Sequence

from torch import Tensor

from dlcpose.necks.base import Neck, index_of_level


class Identity(Neck):
    """Returns the backbone's map of a level, see Neck; the deepest unless another is chosen."""

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], *, level: int = -1) -> None:
        super().__init__(strides, level, in_channels[index_of_level(level, strides)])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, C, h, w) of the chosen level."""
        return features[self.level]
