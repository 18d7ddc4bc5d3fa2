"""Attention between the stages of a backbone, asked for by the condition (BUCTD's CoAM, Zhou et al. 2023)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from dlcpose.fusions.base import PEAK, Fusion
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton


class Coam(Fusion):
    """A conditioned attention module on each map that goes into one stage of the backbone.

    canvas: (height, width) of a crop, which its layers are made for. backbone: whose maps it stands between.
    before: name of the stage within the backbone's network: stage3 of HRNet and CSPNeXt, layer3 of ResNet.
    dropout: of the attention. sigma, coloured: as in Fusion.
    Weights grow with the square of the number of cells: 17 M for a map of 64x64.
    Raises ConfigError where the backbone has no such stage.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        canvas: tuple[int, int],
        backbone: nn.Module,
        *,
        before: str = "stage3",
        dropout: float = 0.1,
        sigma: float = 2.6,
        colored: bool = False,
    ) -> None:
        super().__init__(len(skeleton), sigma=sigma, colored=colored)
        self.before = before
        self.attention = nn.ModuleList(
            ConditionalAttention(channels, (height, width), self.channels, dropout)
            for channels, height, width in _shapes_into(backbone, before, canvas)
        )

    def forward(self, backbone: nn.Module, images: Tensor, drawn: Tensor) -> list[Tensor]:
        """The backbone's maps."""

        def conditioned(stage: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            levels = [given[0]] if isinstance(given[0], Tensor) else given[0]
            found = [attend(level, drawn) for attend, level in zip(self.attention, levels, strict=True)]
            return (found[0] if isinstance(given[0], Tensor) else found, *given[1:])

        with _in_front_of(_stage(backbone, self.before), conditioned):
            features: list[Tensor] = backbone(images)
        return features

    def compile_networks(self, backbone: nn.Module, backend: str) -> None:
        # Not the backbone: what torch has compiled does not see a hook that changes with every batch.
        for attend in self.attention:
            attend.compile(backend=backend)


class ConditionalAttention(nn.Module):
    """What of a map the condition asks for, over its cells and over its channels, added to the map.

    channels, size: of the map (C, (h, w)). asked: channels of the condition's image.
    Source: Zhou et al. 2023 (BUCTD), section 3.2, with one head as in its program.
    """

    def __init__(self, channels: int, size: tuple[int, int], asked: int, dropout: float) -> None:
        super().__init__()
        self.size, self.dropout = size, dropout
        cells = size[0] * size[1]
        self.map_of_cells = nn.Conv2d(channels, channels, 3, padding=1)
        self.condition_of_cells = nn.Conv2d(asked, asked, 3, padding=1)
        self.to_queries = nn.Linear(asked, channels)
        self.to_keys, self.to_values = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.to_cells = nn.Linear(channels, channels)
        self.map_of_channels = nn.Conv2d(channels, channels, 3, padding=1)
        self.condition_of_channels = nn.Conv2d(asked, channels, 3, padding=1)
        self.to_channels = nn.Linear(cells, cells)

    def forward(self, features: Tensor, drawn: Tensor) -> Tensor:
        """(M, C, h, w), (M, asked, H, W) -> (M, C, h, w)."""
        # The mean over the pixels of a cell: a bump between two cells reaches both.
        condition = functional.adaptive_avg_pool2d(PEAK * drawn, self.size)  # (M, asked, h, w)
        attended = self._over_cells(features, condition) + self._over_channels(features, condition)
        return features + attended.view_as(features)

    def _over_cells(self, features: Tensor, condition: Tensor) -> Tensor:
        """Every cell, by what the condition asks there, looks at all others: (M, C, h·w)."""
        cells = self.map_of_cells(features).flatten(start_dim=2).mT  # (M, h·w, C)
        queries = self.to_queries(self.condition_of_cells(condition).flatten(start_dim=2).mT)
        attended = self._attention(queries, self.to_keys(cells), self.to_values(cells))
        found: Tensor = self.to_cells(attended)
        return found.mT

    def _over_channels(self, features: Tensor, condition: Tensor) -> Tensor:
        """Every channel, as the condition fills it, looks at all others: (M, C, h·w)."""
        channels = self.map_of_channels(features).flatten(start_dim=2)  # (M, C, h·w)
        queries = self.condition_of_channels(condition).flatten(start_dim=2)
        found: Tensor = self.to_channels(self._attention(queries, channels, channels))
        return found

    def _attention(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """softmax(QKᵀ / √width) V of one head: (M, T, width) each."""
        dropout = self.dropout if self.training else 0.0
        queries, keys, values = queries[:, None], keys[:, None], values[:, None]
        return functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)[:, 0]


def _stage(backbone: nn.Module, name: str) -> nn.Module:
    network: nn.Module = getattr(backbone, "network", backbone)
    stages = dict(network.named_children())
    if name not in stages:
        raise ConfigError(
            f"fusion.before={name}: the backbone has no such stage. Take one of {', '.join(stages)}, or fusion=prenet, "
            "which stands before any backbone."
        )
    return stages[name]


def _shapes_into(backbone: nn.Module, name: str, canvas: tuple[int, int]) -> list[tuple[int, int, int]]:
    """(channels, height, width) of each map that goes into a stage when the backbone looks at a crop."""
    shapes: list[tuple[int, int, int]] = []

    def look(stage: nn.Module, given: tuple[Any, ...]) -> None:
        levels = [given[0]] if isinstance(given[0], Tensor) else given[0]
        shapes.extend((level.shape[1], level.shape[2], level.shape[3]) for level in levels)

    # Shapes alone, on copies without numbers: the backbone is left as it is, its running means too.
    hollow = {key: value.to("meta") for key, value in (*backbone.named_parameters(), *backbone.named_buffers())}
    with _in_front_of(_stage(backbone, name), look), torch.no_grad():
        functional_call(backbone, hollow, (torch.zeros(1, 3, *canvas, device="meta"),))
    return shapes


@contextmanager
def _in_front_of(stage: nn.Module, act: Any) -> Iterator[None]:
    """Within it, `act` sees what goes into a stage, and may change it."""
    handle = stage.register_forward_pre_hook(act)
    try:
        yield
    finally:
        handle.remove()
