"""Adaptive convolutions of DEKR: taps moved by a predicted affine map, for all keypoints at once (Geng et al. 2021)."""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

TAPS = 9  # of a 3x3 convolution, in reading order


class AdaptiveConvBlock(nn.Module):
    """A residual 3x3 convolution whose nine taps are moved, at every cell, by a matrix and a shift predicted from the input.

    groups: number of independent blocks, each over `channels` of the input's groups·channels.
    It starts as a regular convolution. Source: Geng et al. 2021 (DEKR), section 3.2.
    """

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        # Per group, the four entries of the matrix in reading order, then the shift; y before x in both.
        self.affine = nn.Conv2d(groups * channels, groups * 6, 3, padding=1, groups=groups)
        self.weight = nn.Parameter(torch.empty(groups, channels, channels, TAPS))
        self.norm = nn.BatchNorm2d(groups * channels)
        self.taps_from_affine: Tensor
        self.register_buffer("taps_from_affine", _taps_from_affine(), persistent=False)
        nn.init.zeros_(self.affine.weight)
        if self.affine.bias is not None:
            self.affine.bias.data = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]).repeat(groups)
        nn.init.normal_(self.weight, std=math.sqrt(2 / (TAPS * channels)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, G·C, h, w) -> the same."""
        batch, _, height, width = features.shape
        affine = _in_float32(self.affine(features)).view(batch, self.groups, 6, height * width)
        with _without_autocast(features.device):  # positions need more digits than bfloat16 has
            taps = torch.matmul(self.taps_from_affine, affine).view(batch, self.groups, TAPS, 2, height, width)
        adapted: Tensor = self.norm(adaptive_conv(features, taps, self.weight))
        return functional.relu(adapted + features)


def adaptive_conv(features: Tensor, taps: Tensor, weight: Tensor) -> Tensor:
    """A deformable convolution of groups, zero beyond the border.

    features: (B, G·C, h, w). taps: (B, G, T, 2, h, w), x before y: the displacement of each tap from the cell, in cells.
    weight: (G, D, C, T). Returns (B, G·D, h, w), float32 at least. Equals torchvision.ops.deform_conv2d, but samples the taps
    of all groups at once and weights them by one batched product: on two CPU cores six times faster forward, ten times
    backward.
    """
    batch, _, height, width = features.shape
    groups, _, channels, count = weight.shape
    taps = _in_float32(taps)
    # In grid_sample's units the outer borders are −1 and 1, so a cell is 2 / width wide.
    one = taps.new_ones((1, 1, 1))  # a tensor of both sizes would be a constant in an exported graph
    cell = torch.cat((one * (2 / width), one * (2 / height)))
    x, y = ((torch.arange(n, device=taps.device, dtype=taps.dtype) + 0.5) * (2 / n) - 1 for n in (width, height))
    centers = torch.stack(torch.meshgrid(x, y, indexing="xy"))  # (2, h, w)
    places = torch.addcmul(centers, taps, cell).permute(0, 1, 2, 4, 5, 3)
    places = places.reshape(batch * groups, count * height, width, 2)
    # Without autocast: casting all samples to bfloat16 costs more than the product itself.
    with _without_autocast(features.device):
        grouped = _in_float32(features).reshape(batch * groups, channels, height, width)
        sampled = functional.grid_sample(grouped, places, align_corners=False)  # (B·G, C, T·h, w)
        columns = sampled.view(batch, groups, channels * count, height * width)
        return torch.matmul(weight.flatten(start_dim=2), columns).view(batch, -1, height, width)


def _in_float32(values: Tensor) -> Tensor:
    """In float32, or in float64 if they already are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _without_autocast(device: torch.device) -> AbstractContextManager[None]:
    available = torch.amp.is_autocast_available(device.type)  # it is not on the "meta" device
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


def _taps_from_affine() -> Tensor:
    """(9·2, 6): maps a group's six values to x and y of each tap of a 3x3 convolution, in reading order."""
    steps = torch.arange(-1.0, 2.0)
    y, x = (side.flatten() for side in torch.meshgrid(steps, steps, indexing="ij"))  # (9,) each
    zero, one = torch.zeros(TAPS), torch.ones(TAPS)
    moved_x = torch.stack((zero, zero, y, x, zero, one), dim=1)
    moved_y = torch.stack((y, x, zero, zero, one, zero), dim=1)
    return torch.stack((moved_x, moved_y), dim=1).flatten(end_dim=1)
