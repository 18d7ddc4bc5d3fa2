"""The layers of a part affinity head: deconvolutions, and stages that look at what the former stage found."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class StageOutput(NamedTuple):
    """Raw numbers, before heatmaps are squeezed between 0 and 1."""

    heatmaps: Tensor  # (B, K, h, w)
    fields: Tensor  # (B, 2L, h, w)


class PafStages(nn.Module):
    """From features to raw heatmaps, offsets and fields, and what each stage before them found.

    heatmaps, fields, offsets: channels of each; 0 offsets for none. deconvolutions: each doubles the resolution, 0 is a
    1x1 convolution; channels: between them. stages: each two 3x3 convolutions over heatmaps, fields and
    `stage_channels` of features; its heatmaps are added to those of the stage before. last_deconvolutions: of what the
    last stage found; last_channels: between those.
    Source: the head of DLCRNet (Lauer et al. 2022) as DeepLabCut 3 has it, but maps are exactly twice as fine each time.
    """

    def __init__(
        self,
        in_channels: int,
        heatmaps: int,
        offsets: int,
        fields: int,
        *,
        deconvolutions: int,
        channels: int,
        stages: int,
        stage_channels: int,
        last_deconvolutions: int,
        last_channels: int,
    ) -> None:
        super().__init__()
        if min(deconvolutions, stages, last_deconvolutions) < 0:
            raise ValueError("expected 0 or more of deconvolutions, stages and last_deconvolutions")
        if last_deconvolutions and not stages:
            raise ValueError("last_deconvolutions follow the stages: set stages to 1 or more, or use deconvolutions")

        def first(width: int) -> nn.Module:
            return _doubling(in_channels, channels, width, deconvolutions)

        def last(source: int, width: int) -> nn.Module:
            return _doubling(source, last_channels, width, last_deconvolutions)

        joined = heatmaps + fields + stage_channels
        self.first_heatmaps, self.first_fields = first(heatmaps), first(fields)
        self.first_offsets = first(offsets) if offsets else None
        self.features = first(stage_channels) if stages else None
        self.stage_heatmaps = nn.ModuleList(nn.Conv2d(joined, heatmaps, 3, padding=1) for _ in range(stages))
        self.stage_fields = nn.ModuleList(_refining(joined, fields) for _ in range(stages))
        has_last = last_deconvolutions > 0
        self.last_heatmaps = last(joined, heatmaps) if has_last else None
        self.last_fields = last(joined, fields) if has_last else None
        self.last_offsets = last(offsets, offsets) if has_last and offsets else None
        self._expect_background()

    def forward(self, features: Tensor) -> tuple[StageOutput, Tensor | None, tuple[StageOutput, ...]]:
        """The last heatmaps and fields, the offsets, and the stages before from the first: of features (B, C, h, w)."""
        found = StageOutput(self.first_heatmaps(features), self.first_fields(features))
        offsets = None if self.first_offsets is None else self.first_offsets(features)
        if self.features is None:
            return found, offsets, ()
        former, carried = [found], self.features(features)
        joined = torch.cat((*found, carried), dim=1)
        for number, (to_heatmaps, to_fields) in enumerate(zip(self.stage_heatmaps, self.stage_fields, strict=True)):
            heatmaps = to_heatmaps(joined)
            found = StageOutput(heatmaps + found.heatmaps if number else heatmaps, to_fields(joined))
            former.append(found)
            joined = torch.cat((*found, carried), dim=1)
        if self.last_heatmaps is None or self.last_fields is None:
            return former[-1], offsets, tuple(former[:-1])
        if self.last_offsets is not None:
            offsets = self.last_offsets(offsets)
        return StageOutput(self.last_heatmaps(joined), self.last_fields(joined)), offsets, tuple(former)

    def _expect_background(self) -> None:
        """Start where nearly all cells belong: without it the first epochs are spent on learning that maps are empty."""
        adding = list(self.stage_heatmaps)[1:]  # they start from the stage before
        for layers in (self.first_heatmaps, *self.stage_heatmaps, self.last_heatmaps):
            _begin_small(layers, 0.0 if layers in adding else math.log(0.01 / 0.99))
        for layers in (self.first_fields, *self.stage_fields, self.last_fields, self.first_offsets, self.last_offsets):
            _begin_small(layers, 0.0)


class _NoFields(nn.Module):
    """What a skeleton of one keypoint, which has no limbs, asks of a layer: torch refuses a convolution to nothing."""

    def __init__(self, scale: int = 1) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 0, scale · h, scale · w)."""
        batch, _, height, width = features.shape
        return features.new_zeros(batch, 0, self.scale * height, self.scale * width)


def _refining(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1) if out_channels else _NoFields()


def _doubling(in_channels: int, channels: int, out_channels: int, times: int) -> nn.Module:
    """So many times exactly twice the height and width; a 1x1 convolution for none."""
    if out_channels == 0:
        return _NoFields(2**times)
    if times == 0:
        return nn.Conv2d(in_channels, out_channels, 1)
    layers: list[nn.Module] = []
    for _ in range(times - 1):
        layers += [nn.ConvTranspose2d(in_channels, channels, 3, 2, padding=1, output_padding=1), nn.ReLU(inplace=True)]
        in_channels = channels
    return nn.Sequential(*layers, nn.ConvTranspose2d(in_channels, out_channels, 3, 2, padding=1, output_padding=1))


def _begin_small(layers: nn.Module | None, bias: float) -> None:
    if layers is None or isinstance(layers, _NoFields):
        return
    last = [module for module in layers.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))][-1]
    nn.init.normal_(last.weight, std=0.001)
    if last.bias is not None:
        nn.init.constant_(last.bias, bias)
