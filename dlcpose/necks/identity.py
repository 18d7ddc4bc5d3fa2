"""One of the backbone's maps, unchanged."""

from collections.abc import Sequence

from torch import Tensor, nn


class Identity(nn.Module):
    """Hands on one map of the backbone's list. level: its place, finest first; −1 is the deepest."""

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], *, level: int = -1) -> None:
        super().__init__()
        self.level = level
        self.out_channels = in_channels[level]
        self.stride = strides[level]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, C, h, w) of the chosen level."""
        return features[self.level]
