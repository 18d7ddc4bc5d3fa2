"""Conditional attention modules between the stages of a backbone (CoAM of BUCTD, Zhou et al. 2023)."""

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
    """A conditional attention module on each feature map that goes into one stage of the backbone.

    canvas: (height, width) of a crop, for which its layers are made. backbone: the network that it is put into.
    before: name of the stage within the backbone's network: stage3 of HRNet and CSPNeXt, layer3 of ResNet.
    dropout: of the attention. sigma, colored: as in Fusion.
    The number of weights grows with the square of the number of cells: 17 M for a map of 64x64.
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
            self.attention_class(channels, (height, width), self.channels, dropout)
            for channels, height, width in _shapes_into(backbone, before, canvas)
        )

    @property
    def attention_class(self) -> "type[ConditionalAttention]":
        """What is put on each map."""
        return ConditionalAttention

    def forward(self, backbone: nn.Module, images: Tensor, rendered: Tensor) -> list[Tensor]:
        """The backbone's feature maps."""

        def attend(stage: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            levels = [inputs[0]] if isinstance(inputs[0], Tensor) else inputs[0]
            attended = [module(level, rendered) for module, level in zip(self.attention, levels, strict=True)]
            return (attended[0] if isinstance(inputs[0], Tensor) else attended, *inputs[1:])

        with _pre_hook(_stage(backbone, self.before), attend):
            features: list[Tensor] = backbone(images)
        return features

    def compile_networks(self, backbone: nn.Module, backend: str) -> None:
        """Have torch compile the attention modules; a compiled backbone would not see a hook that changes every batch."""
        for module in self.attention:
            module.compile(backend=backend)


class ConditionalAttention(nn.Module):
    """Attention of a feature map over its cells and over its channels, with queries from the condition, as a residual.

    channels, size: of the map (C, (h, w)). condition_channels: of the rendered condition.
    Source: Zhou et al. 2023 (BUCTD), section 3.2, with one head as in its program.
    """

    def __init__(self, channels: int, size: tuple[int, int], condition_channels: int, dropout: float) -> None:
        super().__init__()
        self.size, self.dropout = size, dropout
        cells = size[0] * size[1]
        self.spatial_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.spatial_condition_conv = nn.Conv2d(condition_channels, condition_channels, 3, padding=1)
        self.to_queries = nn.Linear(condition_channels, channels)
        self.to_keys, self.to_values = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.spatial_out = nn.Linear(channels, channels)
        self.channel_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.channel_condition_conv = nn.Conv2d(condition_channels, channels, 3, padding=1)
        self.channel_out = nn.Linear(cells, cells)

    def forward(self, features: Tensor, rendered: Tensor) -> Tensor:
        """The map after attention: (M, C, h, w), (M, condition channels, H, W) -> (M, C, h, w)."""
        condition = self.condition_of(rendered)  # (M, condition channels, h, w)
        attended = self._spatial_attention(features, condition) + self._channel_attention(features, condition)
        return features + attended.view_as(features)

    def condition_of(self, rendered: Tensor) -> Tensor:
        """The rendered condition at the size of the map."""
        # The mean over the pixels of a cell: a Gaussian between two cells reaches both.
        return functional.adaptive_avg_pool2d(PEAK * rendered, self.size)

    def _spatial_attention(self, features: Tensor, condition: Tensor) -> Tensor:
        """Cells attend to cells, with queries from the condition: (M, C, h·w)."""
        cells = self.spatial_conv(features).flatten(start_dim=2).mT  # (M, h·w, C)
        queries = self.to_queries(self.spatial_condition_conv(condition).flatten(start_dim=2).mT)
        attended = self._attention(queries, self.to_keys(cells), self.to_values(cells))
        projected: Tensor = self.spatial_out(attended)
        return projected.mT

    def _channel_attention(self, features: Tensor, condition: Tensor) -> Tensor:
        """Channels attend to channels, with queries from the condition: (M, C, h·w)."""
        channels = self.channel_conv(features).flatten(start_dim=2)  # (M, C, h·w)
        queries = self.channel_condition_conv(condition).flatten(start_dim=2)
        projected: Tensor = self.channel_out(self._attention(queries, channels, channels))
        return projected

    def _attention(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Scaled dot-product attention of one head: (M, T, width) each."""
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
    """(channels, height, width) of each feature map that goes into a stage of the backbone for a crop of `canvas`."""
    shapes: list[tuple[int, int, int]] = []

    def note(stage: nn.Module, inputs: tuple[Any, ...]) -> None:
        levels = [inputs[0]] if isinstance(inputs[0], Tensor) else inputs[0]
        shapes.extend((level.shape[1], level.shape[2], level.shape[3]) for level in levels)

    # On the meta device, with copies of the weights: the backbone and its running means stay as they are.
    weights = {key: value.to("meta") for key, value in (*backbone.named_parameters(), *backbone.named_buffers())}
    with _pre_hook(_stage(backbone, name), note), torch.no_grad():
        functional_call(backbone, weights, (torch.zeros(1, 3, *canvas, device="meta"),))
    return shapes


@contextmanager
def _pre_hook(stage: nn.Module, hook: Any) -> Iterator[None]:
    """Within it, `hook` sees the inputs of a stage, and may change them."""
    handle = stage.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
