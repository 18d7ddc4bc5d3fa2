"""All of the backbone's maps concatenated at one stride, as DEKR reads HRNet's branches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dlcpose.layers.resizing import resized_to
from dlcpose.necks.base import Neck


class Concatenate(Neck):
    """Every map resized bilinearly to that of a level, the finest by default, and concatenated. It has no weights."""

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], *, level: int = 0) -> None:
        super().__init__(strides, level, sum(in_channels))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, sum of channels, h, w) at the level's stride."""
        size = features[self.level].shape[-2:]
        return torch.cat([resized_to(size, each) for each in features], dim=1)
