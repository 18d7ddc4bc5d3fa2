"""Keypoints read off heatmaps, to a fraction of a cell."""

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST = 1e-6  # below this a map's value is noise and its logarithm means nothing


def find_global_peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The highest cell of each map: (B, K, h, w) -> cells (B, K, 2) as x, y (int64) and its value (B, K)."""
    values, cells = maps.flatten(start_dim=2).max(dim=-1)
    width = maps.shape[-1]
    return torch.stack((cells % width, cells // width), dim=-1), values


def refine_peaks(maps: Tensor, cells: Tensor) -> Tensor:
    """Peaks to a fraction of a cell: the summit of a parabola through the logarithms of three neighbours.

    x and y are refined apart. The logarithm of a Gaussian is a parabola, so this is exact for what `draw_gaussians`
    draws, also for a peak in the outermost row, where the three neighbours lie to one side.
    maps: (B, K, h, w) non-negative. cells: (B, K, P, 2). Returns (B, K, P, 2), within one cell of where they were.
    Source: Zhang et al. 2020 (DARK), section 3.2, in one dimension at a time.
    """
    x, y = cells.unbind(dim=-1)  # (B, K, P) each
    height, width = maps.shape[-2:]
    middle_x, middle_y = x.clamp(1, max(width - 2, 1)), y.clamp(1, max(height - 2, 1))
    refined = cells.to(maps.dtype).clone()
    if width >= 3:
        refined[..., 0] = parabolic_peak(x, middle_x, [_log_at(maps, middle_x + step, y) for step in (-1, 0, 1)])
    if height >= 3:
        refined[..., 1] = parabolic_peak(y, middle_y, [_log_at(maps, x, middle_y + step) for step in (-1, 0, 1)])
    return refined


def parabolic_peak(peak: Tensor, middle: Tensor, logarithms: Sequence[Tensor]) -> Tensor:
    """Where along one axis the parabola through three logarithms, at middle − 1, middle and middle + 1, is highest.

    peak: the highest cell, which the answer leaves by one cell at most. All of one shape, which is the answer's.
    """
    before, at, after = logarithms
    curvature = before - 2 * at + after
    step = torch.where(curvature < -SMALLEST, (before - after) / (2 * curvature.clamp(max=-SMALLEST)), peak - middle)
    return (middle + step).clamp(peak - 1, peak + 1)


def _log_at(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Logarithms of the values of maps (B, K, h, w) at cells (B, K, P)."""
    return maps.flatten(start_dim=2).gather(-1, y * maps.shape[-1] + x).clamp(min=SMALLEST).log()


def values_at(maps: Tensor, cells: Tensor) -> Tensor:
    """Values of vector maps (B, K, D, h, w) at cells (B, K, P, 2): (B, K, P, D)."""
    x, y = cells.unbind(dim=-1)
    flat = maps.flatten(start_dim=3)  # (B, K, D, h·w)
    places = (y * maps.shape[-1] + x)[:, :, None].expand(-1, -1, flat.shape[2], -1)  # (B, K, D, P)
    return flat.gather(-1, places).transpose(-1, -2)
