"""Side banks of early features beside the deepest map: what DLCRNet reads (Lauer et al. 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dlcpose.structures.errors import ConfigError


class MultiScale(nn.Module):
    """The deepest map, with a bank for each of some finer ones: halved to `bank_stride`, narrowed, and laid beside it.

    bank_strides: of the maps that get a bank. bank_stride: where 3x3 convolutions of stride 2 take them; from there they
    are resized to the deepest map. channels: of each bank in the end.
    Raises ConfigError where the backbone has no such map.
    Source: DLCRNet's backbone. There the convolutions are not padded, so that banks are a cell or two short and are
    stretched to fit; the deepest block of each stage is taken here, and gradients go through banks.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        *,
        bank_strides: Sequence[int] = (4, 8),
        bank_stride: int = 16,
        channels: int = 128,
    ) -> None:
        super().__init__()
        if missing := [stride for stride in bank_strides if stride not in strides]:
            raise ConfigError(
                f"neck.bank_strides={list(bank_strides)}: the backbone has maps of strides {list(strides)}, none of "
                f"{missing}. Take neck.bank_strides={list(strides[:-1])} or another backbone."
            )
        self.levels = tuple(list(strides).index(stride) for stride in bank_strides)
        self.banks = nn.ModuleList(
            _bank(in_channels[level], channels, halvings=(bank_stride // strides[level]).bit_length() - 1)
            for level in self.levels
        )
        self.out_channels = len(self.levels) * channels + in_channels[-1]
        self.stride = strides[-1]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, banks and deepest channels, h, w) at the deepest map's stride."""
        deepest = features[-1]
        found = [bank(features[level]) for bank, level in zip(self.banks, self.levels, strict=True)]
        return torch.cat([*(_brought_to(deepest.shape[-2:], bank) for bank in found), deepest], dim=1)


def _bank(in_channels: int, channels: int, halvings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(halvings):
        layers += [nn.Conv2d(in_channels, in_channels, 3, 2, padding=1), nn.BatchNorm2d(in_channels), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.Conv2d(in_channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(True))


def _brought_to(size: torch.Size, bank: Tensor) -> Tensor:
    if bank.shape[-2:] == size:
        return bank
    return functional.interpolate(bank, size=size, mode="bilinear", align_corners=False)
