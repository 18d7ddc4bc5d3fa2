"""CSPNeXt, which timm does not have: cross-stage partial layers with 5x5 depthwise kernels (RTMDet, Lyu et al. 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dlcpose.backbones.base import Backbone

STEM = 64  # channels after the stem, before widening
STAGES = ((128, 3), (256, 6), (512, 6), (1024, 3))  # channels before widening, blocks before deepening
STRIDES = (4, 8, 16, 32)


class CspNextBackbone(Backbone):
    """CSPNeXt of any width and depth, with maps of strides 4, 8, 16 and 32.

    widen, deepen: factors of the channels and of the number of blocks in each stage. The rest as in Backbone.
    Raises CheckpointError when the file does not hold these weights.
    """

    def __init__(
        self,
        *,
        widen: float,
        deepen: float,
        checkpoint_path: str | None = None,
        finest_stride: int = 4,
        frozen: bool = False,
        frozen_statistics: bool = False,
    ) -> None:
        network = CspNext(widen, deepen)
        super().__init__(
            network,
            network.channels,
            STRIDES,
            name=f"CSPNeXt with widen={widen:g} and deepen={deepen:g}",
            size_divisor=max(STRIDES),
            checkpoint_path=checkpoint_path,
            finest_stride=finest_stride,
            frozen=frozen,
            frozen_statistics=frozen_statistics,
        )


class CspNext(nn.Module):
    """A stem of three convolutions and four stages that each halve height and width.

    Layers are named as in the published weights (MMDetection, MMPose, DeepLabCut), which therefore load unchanged.
    Source: Lyu et al. 2022 (RTMDet), section 3; its sizes from Jiang et al. 2023 (RTMPose).
    """

    def __init__(self, widen: float, deepen: float) -> None:
        super().__init__()
        if widen * STEM < 2 or deepen <= 0:
            raise ValueError(
                f"expected widen of at least {2 / STEM:g} and deepen above 0, got {widen:g} and {deepen:g}"
            )
        half, full = int(STEM * widen) // 2, int(STEM * widen)
        self.channels = tuple(int(channels * widen) for channels, _ in STAGES)
        blocks = [max(round(count * deepen), 1) for _, count in STAGES]
        self.stem = nn.Sequential(
            ConvNormAct(3, half, 3, stride=2), ConvNormAct(half, half, 3), ConvNormAct(half, full, 3)
        )
        self.stage1 = _stage(full, self.channels[0], blocks[0])
        self.stage2 = _stage(self.channels[0], self.channels[1], blocks[1])
        self.stage3 = _stage(self.channels[1], self.channels[2], blocks[2])
        self.stage4 = _last_stage(self.channels[2], self.channels[3], blocks[3])

    def forward(self, images: Tensor) -> list[Tensor]:
        """The four stages' maps, finest first: (B, 3, H, W) -> (B, C, H/4, W/4), ..., (B, C, H/32, W/32)."""
        maps = [self.stage1(self.stem(images))]
        for stage in (self.stage2, self.stage3, self.stage4):
            maps.append(stage(maps[-1]))
        return maps


class ConvNormAct(nn.Module):
    """A padded convolution, batch norm and SiLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        return functional.silu(self.norm(self.conv(features)), inplace=True)


class DepthwiseSeparable(nn.Module):
    """A depthwise convolution, then a pointwise one."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise_conv = ConvNormAct(channels, channels, kernel, groups=channels)
        self.pointwise_conv = ConvNormAct(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise_conv(self.depthwise_conv(features))
        return mixed


class Block(nn.Module):
    """A 3x3 convolution and a depthwise separable 5x5 one, added to the input where `residual`."""

    def __init__(self, channels: int, *, residual: bool) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(channels, channels, 3)
        self.conv2 = DepthwiseSeparable(channels, 5)
        self.residual = residual

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.conv2(self.conv1(features))
        return output + features if self.residual else output


class ChannelAttention(nn.Module):
    """Channels scaled by weights predicted from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        return features * functional.hardsigmoid(self.fc(features.mean(dim=(2, 3), keepdim=True)))


class CspLayer(nn.Module):
    """A cross-stage partial layer: half of the channels pass through blocks, then both halves are merged with attention."""

    def __init__(self, channels: int, blocks: int, *, residual: bool) -> None:
        super().__init__()
        half = channels // 2
        self.main_conv = ConvNormAct(channels, half, 1)
        self.short_conv = ConvNormAct(channels, half, 1)
        self.final_conv = ConvNormAct(2 * half, channels, 1)
        self.blocks = nn.Sequential(*(Block(half, residual=residual) for _ in range(blocks)))
        self.attention = ChannelAttention(2 * half)

    def forward(self, features: Tensor) -> Tensor:
        joined = torch.cat((self.blocks(self.main_conv(features)), self.short_conv(features)), dim=1)
        mixed: Tensor = self.final_conv(self.attention(joined))
        return mixed


class SpatialPyramidPooling(nn.Module):
    """Maximum pooling over 5, 9 and 13 cells beside the map itself (He et al. 2015)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(channels, channels // 2, 1)
        self.conv2 = ConvNormAct(4 * (channels // 2), channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        levels = [self.conv1(features)]
        for _ in range(3):  # pooling 5 over 5 is pooling 9, and so on
            levels.append(functional.max_pool2d(levels[-1], 5, stride=1, padding=2))
        mixed: Tensor = self.conv2(torch.cat(levels, dim=1))
        return mixed


def _stage(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(ConvNormAct(in_channels, channels, 3, stride=2), CspLayer(channels, blocks, residual=True))


def _last_stage(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        ConvNormAct(in_channels, channels, 3, stride=2),
        SpatialPyramidPooling(channels),
        CspLayer(channels, blocks, residual=False),
    )
