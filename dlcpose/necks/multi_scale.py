"""DLCRNet's multi-scale fusion: banks of early features beside a deep map (Lauer et al. 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlcpose.layers.resizing import resized_to
from dlcpose.necks.base import Neck, index_of_level
from dlcpose.structures.errors import ConfigError


class MultiScale(Neck):
    """The map of a level, the deepest by default, concatenated with a bank for each of some finer maps.

    bank_strides: of the maps that get a bank. bank_stride: to which 3x3 convolutions of stride 2 bring them; from there
    they are resized to the level's map. channels: of each bank's output.
    Raises ConfigError where the backbone has no such map.
    Source: DLCRNet's backbone. There the convolutions are not padded, so banks are a cell or two short and are stretched
    to fit; here they are padded, the deepest block of each stage is taken, and gradients go through the banks.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        *,
        level: int = -1,
        bank_strides: Sequence[int] = (4, 8),
        bank_stride: int = 16,
        channels: int = 128,
    ) -> None:
        if missing := [stride for stride in bank_strides if stride not in strides]:
            raise ConfigError(
                f"neck.bank_strides={list(bank_strides)}: the backbone has maps of strides {list(strides)}, none of "
                f"{missing}. Take neck.bank_strides={list(strides[:-1])} or another backbone."
            )
        own_channels = in_channels[index_of_level(level, strides)]
        super().__init__(strides, level, len(bank_strides) * channels + own_channels)
        self.bank_levels = tuple(list(strides).index(stride) for stride in bank_strides)
        self.banks = nn.ModuleList(
            _bank(in_channels[index], channels, halvings=(bank_stride // strides[index]).bit_length() - 1)
            for index in self.bank_levels
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, banks' and own channels, h, w) at the level's stride."""
        own = features[self.level]
        banks = [bank(features[index]) for bank, index in zip(self.banks, self.bank_levels, strict=True)]
        return torch.cat([*(resized_to(own.shape[-2:], bank) for bank in banks), own], dim=1)


def _bank(in_channels: int, channels: int, halvings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(halvings):
        layers += [nn.Conv2d(in_channels, in_channels, 3, 2, padding=1), nn.BatchNorm2d(in_channels), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.Conv2d(in_channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(True))
