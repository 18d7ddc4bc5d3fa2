"""Every place of an image where a keypoint of some animal may be: the peaks of its heatmap."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.flat_maps import cells_above, flatten_maps, gather_cells

Array = npt.NDArray[Any]
HALF = 0.5 + 1e-3  # of a cell, and what rounding adds
AGREEING = 0.5  # cells between where two offsets end
VOTES = 3  # of the eight neighbours, at least


def find_local_peaks(
    maps: Tensor, threshold: float, most: int, *, offsets: Tensor | None = None, sure: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Cells that none of their eight neighbours surpasses, and those that say themselves that they hold a keypoint.

    maps: (B, K, h, w). threshold: least value of a peak. most: of them in each map, the surest. offsets: (B, K, 2, h, w)
    cells to the keypoint; where they end within their own cell, neighbours agree, and the map's value is `sure` or more,
    the cell counts too: so keypoints of two animals in neighbouring cells do not hide each other.
    Returns cells (B, K, P, 2) as x, y (int64) and values (B, K, P), the highest first; P is the largest number that some
    map has, and a value of 0 says that there is no peak.
    Of equal neighbours the first in reading order is the peak: a keypoint between two cells is found once.
    """
    batch, keypoints, height, width = maps.shape
    step = width + 2  # from a row to the next
    padded = functional.pad(maps, (1, 1, 1, 1), value=-math.inf).flatten()
    # Neighbours of what is above the threshold only: a pooling of whole maps takes several times as long on a CPU.
    likely = cells_above(padded, max(threshold, torch.finfo(maps.dtype).tiny))
    (around,) = gather_cells(padded, likely + _steps(step))  # (9, E)
    values = around[4]
    is_peak = (values > around[:4].max(axis=0)) & (values >= around[5:].max(axis=0))
    looked_at = np.flatnonzero(is_peak if offsets is None else is_peak | (values >= sure))
    is_peak, values, places = is_peak[looked_at], values[looked_at], likely[looked_at]
    rows, columns = np.divmod(places, step)
    planes, rows = np.divmod(rows, height + 2)
    rows, columns = rows - 1, columns - 1
    if offsets is not None:
        others = np.flatnonzero(~is_peak)
        is_peak[others[_that_hold(offsets, planes[others], rows[others], columns[others])]] = True
    owners, values = planes[is_peak], values[is_peak]
    found = np.stack((columns[is_peak], rows[is_peak]), axis=1)  # (E, 2)
    counts = np.bincount(owners, minlength=batch * keypoints)  # (B·K,)
    held = min(most, int(counts.max()))
    order = np.lexsort((-values, owners))
    owners, ranks = owners[order], np.arange(len(order)) - (counts.cumsum() - counts)[owners[order]]
    kept = ranks < most
    cells = np.zeros((batch * keypoints, held, 2), np.int64)
    scores = np.zeros((batch * keypoints, held), values.dtype)
    cells[owners[kept], ranks[kept]] = found[order[kept]]
    scores[owners[kept], ranks[kept]] = values[order[kept]]
    shape = (batch, keypoints, held)
    return torch.from_numpy(cells).to(maps.device).view(*shape, 2), torch.from_numpy(scores).to(maps.device).view(shape)


def _that_hold(offsets: Tensor, planes: Array, rows: Array, columns: Array) -> Array:
    """Which of these cells have offsets (B, K, 2, h, w) that end within them, as their neighbours' do: indices (·,).

    Without the neighbours' votes a network that has not learnt its offsets yet would find a keypoint in every cell
    around one.
    """
    height, width = offsets.shape[-2:]
    flat, (of_image, of_keypoint, along_y, row, column) = flatten_maps(offsets)
    images, keypoints = np.divmod(planes, offsets.shape[1])
    middle = images * of_image + keypoints * of_keypoint + rows * row + columns * column
    ends = np.stack(gather_cells(flat, middle, (0, along_y)))  # (2, E)
    own = np.flatnonzero((np.abs(ends) <= HALF).all(axis=0))  # NaN is not
    down, right = (part.reshape(9, 1) for part in np.indices((3, 3)) - 1)  # the cell itself among them
    far_x, far_y = columns[own] + right, rows[own] + down  # (9, ·)
    inside = (far_x >= 0) & (far_x < width) & (far_y >= 0) & (far_y < height)
    index = np.where(inside, middle[own] + down * row + right * column, middle[own])
    to_x, to_y = gather_cells(flat, index, (0, along_y))
    agrees = (to_x + right - ends[0, own]) ** 2 + (to_y + down - ends[1, own]) ** 2 < AGREEING**2
    holds: Array = own[(agrees & inside).sum(axis=0) > VOTES]
    return holds


def _steps(step: int) -> Array:
    """How far in a flattened map a cell and its neighbours are, in reading order: (9, 1). step: from a row to the next."""
    return np.array([down * step + right for down in (-1, 0, 1) for right in (-1, 0, 1)])[:, None]


def duplicate_candidates(points_in_map: Array, scores: Array, apart: float) -> Array:
    """Which candidates lie nearer than `apart` cells to a surer one of the same keypoint: (B, K, P).

    points_in_map: (B, K, P, 2), NaN where there is none. scores: (B, K, P); of equally sure ones the first is the surer.
    """
    x, y = points_in_map[..., 0], points_in_map[..., 1]
    near = (x[..., None] - x[..., None, :]) ** 2 + (y[..., None] - y[..., None, :]) ** 2 < apart**2  # (B, K, P, P)
    if np.count_nonzero(near) == np.count_nonzero(~np.isnan(x)):  # each is near itself
        return np.zeros(x.shape, bool)
    surer = scores[..., None, :] > scores[..., None]  # [..., i, j]: whether j is surer than i
    first = np.tri(x.shape[-1], k=-1, dtype=bool) & (scores[..., None, :] == scores[..., None])
    doubled: Array = (near & (surer | first)).any(axis=-1)
    return doubled
