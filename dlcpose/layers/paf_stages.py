"""Layers of a part affinity head: deconvolutions, and stages that refine the maps of the stage before."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlcpose.layers.deconv import deconvolutions
from dlcpose.layers.initialization import init_background, init_near_zero


class StageOutput(NamedTuple):
    """Outputs of a stage, heatmaps before the sigmoid."""

    heatmaps: Tensor  # (B, K, h, w)
    fields: Tensor  # (B, 2L, h, w)


class PafStages(nn.Module):
    """Features to heatmaps, offsets and fields, with the outputs of each stage before the last.

    heatmaps, fields, offsets: channels of each; 0 offsets for none. deconvolutions: each doubles the resolution, 0 is a
    1x1 convolution; channels: between them. stages: each two 3x3 convolutions over heatmaps, fields and
    `stage_channels` of features; its heatmaps are added to those of the stage before. last_deconvolutions: after the last
    stage; last_channels: between those.
    Source: DLCRNet's head (Lauer et al. 2022) as in DeepLabCut 3, but the resolution is doubled exactly each time.
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
            return _deconvolutions(in_channels, channels, width, deconvolutions)

        def last(source: int, width: int) -> nn.Module:
            return _deconvolutions(source, last_channels, width, last_deconvolutions)

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
        self._initialize()

    def forward(self, features: Tensor) -> tuple[StageOutput, Tensor | None, tuple[StageOutput, ...]]:
        """The last heatmaps and fields, the offsets, and the outputs of the stages before in order: features (B, C, h, w)."""
        output = StageOutput(self.first_heatmaps(features), self.first_fields(features))
        offsets = None if self.first_offsets is None else self.first_offsets(features)
        if self.features is None:
            return output, offsets, ()
        outputs, carried = [output], self.features(features)
        joined = torch.cat((*output, carried), dim=1)
        for number, (to_heatmaps, to_fields) in enumerate(zip(self.stage_heatmaps, self.stage_fields, strict=True)):
            heatmaps = to_heatmaps(joined)
            output = StageOutput(heatmaps + output.heatmaps if number else heatmaps, to_fields(joined))
            outputs.append(output)
            joined = torch.cat((*output, carried), dim=1)
        if self.last_heatmaps is None or self.last_fields is None:
            return outputs[-1], offsets, tuple(outputs[:-1])
        if self.last_offsets is not None:
            offsets = self.last_offsets(offsets)
        return StageOutput(self.last_heatmaps(joined), self.last_fields(joined)), offsets, tuple(outputs)

    def _initialize(self) -> None:
        adding = list(self.stage_heatmaps)[1:]  # their heatmaps start from those of the stage before
        for layers in (self.first_heatmaps, *self.stage_heatmaps, self.last_heatmaps):
            if layers is not None:
                init_near_zero(layers) if layers in adding else init_background(layers)
        for layers in (self.first_fields, *self.stage_fields, self.last_fields, self.first_offsets, self.last_offsets):
            if layers is not None and any(True for _ in layers.parameters()):
                init_near_zero(layers)


class _NoFields(nn.Module):
    """Fields of a skeleton of one keypoint, which has no edges: torch refuses a convolution to 0 channels."""

    def __init__(self, scale: int = 1) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 0, scale · h, scale · w)."""
        batch, _, height, width = features.shape
        return features.new_zeros(batch, 0, self.scale * height, self.scale * width)


def _refining(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1) if out_channels else _NoFields()


def _deconvolutions(in_channels: int, channels: int, out_channels: int, count: int) -> nn.Module:
    if out_channels == 0:
        return _NoFields(2**count)
    return deconvolutions(in_channels, channels, out_channels, count, batch_norm=False)
