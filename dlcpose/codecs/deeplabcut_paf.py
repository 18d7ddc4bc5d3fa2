"""Peaks and affinities as DeepLabCut 3 computes them from heatmaps and part affinity fields.

Scores are those of the smoothed map, a peak is the maximum of 5x5 cells, and an affinity is the length of the field's
integral from peak to peak, whatever its direction.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

MIN_PEAK = 0.01
SAMPLES = 10  # places between two peaks
DECIMALS = 3  # that affinities are rounded to


class Peaks(NamedTuple):
    """Local maxima in one batch, ordered by image, keypoint, row and column: E of them."""

    places: npt.NDArray[np.int64]  # (E, 4) image, keypoint, row, column
    scores: npt.NDArray[np.float32]  # (E,)


def smooth(heatmaps: Tensor, *, sigma: float, radius: int) -> Tensor:
    """Heatmaps (B, K, h, w) blurred by a Gaussian of sigma cells over 2·radius + 1 cells, zero beyond the border."""
    steps = torch.arange(-radius, radius + 1, dtype=heatmaps.dtype, device=heatmaps.device)
    kernel = (-(steps**2) / (2 * sigma**2)).softmax(dim=0)
    # In two dimensions at once, as there: one after the other is quicker, but rounds differently, and of peaks that differ
    # by no more than a rounding others would be among the best.
    both = torch.outer(kernel, kernel).repeat(heatmaps.shape[1], 1, 1, 1)
    return functional.conv2d(heatmaps, both, padding="same", groups=heatmaps.shape[1])


def find_peaks(heatmaps: Tensor, *, window: int) -> Peaks:
    """Cells of (B, K, h, w) that are the maximum of a window around them and not background; of equal cells all."""
    highest = functional.max_pool2d(heatmaps, window, stride=1, padding=window // 2)
    places = ((heatmaps == highest) & (heatmaps >= MIN_PEAK)).nonzero()
    scores = heatmaps[tuple(places.unbind(dim=1))]
    return Peaks(places.cpu().numpy(), scores.float().cpu().numpy())


def affinities(
    fields: Tensor, image: int, edge: int, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Affinity of every pair of peaks of an edge, rounded: fields (B, L, 2, h, w), rows and columns (P, 2), (Q, 2) -> (P, Q).

    The trapezoidal rule over the cells that ten places between the peaks are truncated to, over the distance in cells.
    """
    first, last = (torch.from_numpy(each).to(fields.device, torch.float32) for each in (starts, ends))
    step = last[None] - first[:, None]  # (P, Q, 2) rows and columns
    length = torch.linalg.vector_norm(step, dim=-1) + torch.finfo(torch.float32).eps
    shares = torch.linspace(0, 1, SAMPLES, device=fields.device)[:, None]  # (S, 1)
    cells = (first[:, None, None] + shares * step[:, :, None]).to(torch.int32).long()  # (P, Q, S, 2)
    sampled = fields[image, edge].float()[:, cells[..., 0], cells[..., 1]]  # (2, P, Q, S) x, y
    integral = torch.trapezoid(sampled, cells.flip(-1).movedim(-1, 0).float(), dim=-1)  # (2, P, Q)
    value = torch.linalg.vector_norm(integral, dim=0) / length
    scale = 10**DECIMALS
    return np.asarray(((value * scale).round() / scale).cpu().numpy(), np.float32)
