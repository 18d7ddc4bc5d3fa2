"""All of the backbone's maps side by side at the finest stride, as HRNet's branches are read by DEKR."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Concatenate(nn.Module):
    """Every map brought to the size of the finest, bilinearly, and joined along the channels. It has no weights."""

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.stride = min(strides)
        self.finest = list(strides).index(self.stride)
        self.out_channels = sum(in_channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, sum of channels, h, w) at the finest stride."""
        size = features[self.finest].shape[-2:]
        return torch.cat([_brought_to(size, level) for level in features], dim=1)


def _brought_to(size: torch.Size, level: Tensor) -> Tensor:
    if level.shape[-2:] == size:
        return level
    return functional.interpolate(level, size=size, mode="bilinear", align_corners=False)
