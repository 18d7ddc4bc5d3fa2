"""Peaks of heatmaps: the highest of each map, all local ones, and their refinement to a fraction of a cell."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.flat_maps import bordered, cells_above, flatten_maps, gather_cells

Array = npt.NDArray[Any]
MIN_VALUE = 1e-6  # below this a map's value is noise and its logarithm means nothing
HALF_CELL = 0.5 + 1e-3  # with what rounding adds
MAX_DISAGREEMENT = 0.5  # cells between the points that two cells' offsets lead to
MIN_VOTES = 3  # of the eight neighbors


def find_global_peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The highest cell of each map: (B, K, h, w) -> cells (B, K, 2) as x, y (int64) and its value (B, K)."""
    values, cells = maps.flatten(start_dim=2).max(dim=-1)
    width = maps.shape[-1]
    return torch.stack((cells % width, cells // width), dim=-1), values


def only_shown(maps: Tensor, shown: Sequence[tuple[int, int]], stride: float) -> Tensor:
    """Maps (B, K, h, w) without the cells that lie in the padding, which are -1 and so no peak.

    shown: (height, width) in pixels of what each image shows of its frame; a cell that the border cuts counts to it.
    """
    height, width = maps.shape[-2:]
    rows, columns = torch.arange(height, device=maps.device), torch.arange(width, device=maps.device)
    bounds = torch.tensor([(math.ceil(h / stride), math.ceil(w / stride)) for h, w in shown], device=maps.device)
    is_shown = (rows < bounds[:, :1])[:, :, None] & (columns < bounds[:, 1:])[:, None]  # (B, h, w)
    return maps.masked_fill(~is_shown[:, None], -1.0)


def into_shown(points_in_crop: Tensor, shown: Sequence[tuple[int, int]]) -> Tensor:
    """Points (B, K, 2) moved to the border of what each image shows, where they lie beyond it."""
    highest = points_in_crop.new_tensor([(w - 0.5, h - 0.5) for h, w in shown])[:, None]  # (B, 1, 2)
    return points_in_crop.clamp(min=-0.5).minimum(highest)


def find_local_peaks(
    maps: Tensor, threshold: float, max_peaks: int, *, offsets: Tensor | None = None, min_offset_score: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Local maxima over 3x3 cells, and cells whose own offset says that they hold a keypoint.

    maps: (B, K, h, w). threshold: minimum value of a peak. max_peaks: kept in each map, highest first. offsets:
    (B, K, 2, h, w), keypoint − cell, in cells. Where a cell's offset ends within the cell, its neighbors' offsets lead to
    the same point, and the map's value is `min_offset_score` or more, the cell counts as a peak too: this separates
    keypoints of two animals in neighboring cells.
    Returns cells (B, K, P, 2) as x, y (int64) and scores (B, K, P) in falling order; P is the largest number of peaks in
    any map, and a score of 0 marks padding.
    Of equal neighbors the first in reading order is the peak: a keypoint between two cells gives one peak.
    """
    batch, keypoints, height, width = maps.shape
    row_step = width + 2  # from a row to the next
    padded = bordered(maps, -math.inf).flatten()
    # Only the neighbors of cells above the threshold: pooling whole maps takes several times as long on a CPU.
    candidates = cells_above(padded, max(threshold, torch.finfo(maps.dtype).tiny))
    (around,) = gather_cells(padded, candidates + _neighbor_steps(row_step))  # (9, E)
    values = around[4]
    is_peak = (values > around[:4].max(axis=0)) & (values >= around[5:].max(axis=0))
    checked = np.flatnonzero(is_peak if offsets is None else is_peak | (values >= min_offset_score))
    is_peak, values, places = is_peak[checked], values[checked], candidates[checked]
    rows, columns = np.divmod(places, row_step)
    planes, rows = np.divmod(rows, height + 2)
    rows, columns = rows - 1, columns - 1
    if offsets is not None:
        others = np.flatnonzero(~is_peak)
        is_peak[others[_hold_keypoint(offsets, planes[others], rows[others], columns[others])]] = True
    peaks = np.stack((columns[is_peak], rows[is_peak]), axis=1)  # (E, 2)
    cells, scores = _padded(peaks, values[is_peak], planes[is_peak], batch * keypoints, max_peaks)
    shape = (batch, keypoints, scores.shape[1])
    return torch.from_numpy(cells).to(maps.device).view(*shape, 2), torch.from_numpy(scores).to(maps.device).view(shape)


def highest_values(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest of non-negative values (..., V) in falling order and their places, (..., count) each.

    A value of 0 marks padding where V is smaller: a graph that was traced on large images has as many for small ones.
    """
    highest, places = functional.pad(values, (0, count)).topk(count, dim=-1)
    return highest, places.clamp(max=values.shape[-1] - 1)


def refine_peaks(maps: Tensor, cells: Tensor) -> Tensor:
    """Peaks to a fraction of a cell, by a parabola through the logarithms of three neighbors along each axis.

    The logarithm of a Gaussian is a parabola, so this is exact for what `draw_gaussians` draws, also for a peak in the
    outermost row, where the three neighbors lie to one side.
    maps: (B, K, h, w) non-negative. cells: (B, K, P, 2). Returns (B, K, P, 2), within one cell of where they were.
    Source: Zhang et al. 2020 (DARK), section 3.2, in one dimension at a time.
    """
    x, y = cells.unbind(dim=-1)  # (B, K, P) each
    height, width = maps.shape[-2:]
    # Stacked, not written into a copy: ONNX has no operator that writes into a part of a tensor.
    refined_x, refined_y = x.to(maps.dtype), y.to(maps.dtype)
    if width >= 3:
        middle_x = x.clamp(min=1).clamp(max=width - 2)
        refined_x = parabolic_peak(x, middle_x, [_log_at(maps, middle_x + step, y) for step in (-1, 0, 1)])
    if height >= 3:
        middle_y = y.clamp(min=1).clamp(max=height - 2)
        refined_y = parabolic_peak(y, middle_y, [_log_at(maps, x, middle_y + step) for step in (-1, 0, 1)])
    return torch.stack((refined_x, refined_y), dim=-1)


def highest_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """Peaks without refinement: the cells themselves, (B, K, h, w), (B, K, P, 2) -> (B, K, P, 2)."""
    return cells.to(maps.dtype)


def refine_by_quarter(maps: Tensor, cells: Tensor) -> Tensor:
    """Peaks moved a quarter of a cell towards the higher neighbor along each axis, as MMPose decodes plain heatmaps.

    maps: (B, K, h, w). cells: (B, K, P, 2). Peaks in the outermost two columns or rows of one side, and in the outermost of
    the other, stay. Source: Xiao et al. 2018 (SimpleBaseline), section 2; the borders are those of MMPose's
    `refine_keypoints`.
    """
    x, y = cells.unbind(dim=-1)
    height, width = maps.shape[-2:]
    along_x = _value_at(maps, (x + 1).clamp(max=width - 1), y) - _value_at(maps, (x - 1).clamp(min=0), y)
    along_y = _value_at(maps, x, (y + 1).clamp(max=height - 1)) - _value_at(maps, x, (y - 1).clamp(min=0))
    moves_x = (x > 1) & (x < width - 1) & (y > 0)
    moves_y = (y > 1) & (y < height - 1) & (x > 0)
    step = torch.stack((along_x.sign() * moves_x, along_y.sign() * moves_y), dim=-1)
    return cells.to(maps.dtype) + step / 4


def refine_dark(maps: Tensor, cells: Tensor, *, sigma: float = 2.0, radius: int = 5, floor: float = 1e-3) -> Tensor:
    """Peaks moved by one Newton step on the logarithm of the blurred map, as ViTPose and MMPose's UDP models decode.

    maps: (B, K, h, w). cells: (B, K, P, 2). sigma, radius: of the blur, cells. floor: below which values count as this.
    Sources: Zhang et al. 2020 (DARK), section 3.2; Huang et al. 2020 (UDP); the differences are those of MMPose's
    `refine_keypoints_dark_udp`, whose blur of 11 cells has a sigma of 2.
    """
    logarithms = functional.pad(_blurred(maps, sigma, radius).clamp(min=floor).log(), (1, 1, 1, 1), mode="replicate")
    x, y = (each + 1 for each in cells.unbind(dim=-1))  # of the padded map

    def at(right: int, down: int) -> Tensor:
        return _value_at(logarithms, x + right, y + down)

    middle = at(0, 0)
    slope_x, slope_y = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    tiny = torch.finfo(torch.float32).eps
    curve_x, curve_y = at(1, 0) - 2 * middle + at(-1, 0) + tiny, at(0, 1) - 2 * middle + at(0, -1) + tiny
    mixed = (at(1, 1) - at(1, 0) - at(0, 1) + 2 * middle - at(-1, 0) - at(0, -1) + at(-1, -1)) / 2
    determinant = curve_x * curve_y - mixed**2
    # Where the map is flat there is no peak to step to.
    is_flat = determinant.abs() < tiny
    divisor = torch.where(is_flat, torch.ones_like(determinant), determinant)
    step_x = (curve_y * slope_x - mixed * slope_y) / divisor
    step_y = (curve_x * slope_y - mixed * slope_x) / divisor
    step = torch.stack((step_x, step_y), dim=-1).masked_fill(is_flat[..., None], 0.0)
    return cells.to(maps.dtype) - step


def _blurred(maps: Tensor, sigma: float, radius: int) -> Tensor:
    """Maps (B, K, h, w) smoothed by a Gaussian cut off at `radius` cells; beyond the border they are 0."""
    steps = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    flat = maps.flatten(end_dim=1)[:, None]  # (B·K, 1, h, w)
    # Zeros, as in MMPose: values that go on move a peak two cells from the border beyond it.
    padded = functional.pad(flat, (radius, radius, radius, radius))
    smooth = functional.conv2d(functional.conv2d(padded, weights[None, None, None]), weights[None, None, :, None])
    return smooth.view(maps.shape)


def parabolic_peak(cells: Tensor, middle: Tensor, logarithms: Sequence[Tensor]) -> Tensor:
    """The vertex of the parabola through three logarithms, at middle − 1, middle and middle + 1 along one axis.

    cells: the highest ones; the vertex is clamped to within one cell of them. All arguments and the result have one shape.
    """
    before, at, after = logarithms
    curvature = before - 2 * at + after
    step = torch.where(curvature < -MIN_VALUE, (before - after) / (2 * curvature.clamp(max=-MIN_VALUE)), cells - middle)
    return (middle + step).clamp(cells - 1, cells + 1)


def refine_to_peak(maps: Tensor, points_in_map: Tensor, radius: float) -> Tensor:
    """Each point moved uphill to the local peak of its map, refined: (B, K, h, w), (B, K, P, 2) -> (B, K, P, 2).

    A point whose peak lies farther off than `radius` cells stays where it is, as does one outside the map.
    """
    height, width = maps.shape[-2:]
    rounded = points_in_map.nan_to_num(0.0).round().long()
    cells = _within(rounded, height, width)
    inside = (cells == rounded).all(dim=-1)
    steps = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2)).to(maps.device)  # (9, 2)
    flat = maps.flatten(start_dim=2)[:, :, None].expand(-1, -1, cells.shape[2], -1)  # (B, K, P, h·w)
    for _ in range(int(radius) + 1):
        around = _within(cells[..., None, :] + steps, height, width)  # (B, K, P, 9, 2)
        highest = flat.gather(-1, around[..., 1] * width + around[..., 0]).argmax(dim=-1)  # (B, K, P)
        cells = around.gather(-2, highest[..., None, None].expand(*highest.shape, 1, 2))[..., 0, :]
    peaks = refine_peaks(maps, cells)
    near = (peaks - points_in_map).norm(dim=-1) <= radius  # False for NaN
    return peaks.where((near & inside)[..., None], points_in_map)


def _within(cells: Tensor, height: int, width: int) -> Tensor:
    """Cells (..., 2) moved into a map."""
    # x and y apart, not by a tensor of both sizes: that would be a constant in an exported graph.
    return torch.stack((cells[..., 0].clamp(0, width - 1), cells[..., 1].clamp(0, height - 1)), dim=-1)


def sample_bilinear(maps: Tensor, points_in_map: Tensor) -> Tensor:
    """Values of maps (B, K, h, w) at points (B, K, P, 2), bilinear between cells: (B, K, P); 0 at NaN.

    Beyond the outermost cells their own value counts.
    """
    batch, keypoints, height, width = maps.shape
    # x and y apart, not by a tensor of both sizes: that would be a constant in an exported graph.
    x, y = points_in_map.unbind(dim=-1)
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1).view(batch * keypoints, 1, -1, 2)
    values = functional.grid_sample(
        maps.reshape(batch * keypoints, 1, height, width),
        grid.nan_to_num(0.0),
        padding_mode="border",
        align_corners=False,
    )
    return values.view(batch, keypoints, -1).masked_fill(points_in_map.isnan().any(dim=-1), 0.0)


def values_at(maps: Tensor, cells: Tensor) -> Tensor:
    """Vectors of maps (B, K, D, h, w) at cells (B, K, P, 2): (B, K, P, D)."""
    x, y = cells.unbind(dim=-1)
    flat = maps.flatten(start_dim=3)  # (B, K, D, h·w)
    places = (y * maps.shape[-1] + x)[:, :, None].expand(-1, -1, flat.shape[2], -1)  # (B, K, D, P)
    return flat.gather(-1, places).transpose(-1, -2)


def find_duplicates(points_in_map: Array, scores: Array, min_distance: float) -> Array:
    """Which candidates lie nearer than `min_distance` cells to a higher-scoring one of the same keypoint: (B, K, P) bool.

    points_in_map: (B, K, P, 2), NaN for padding. scores: (B, K, P); of equal scores the first counts as the higher.
    """
    x, y = points_in_map[..., 0], points_in_map[..., 1]
    squared = (x[..., None] - x[..., None, :]) ** 2 + (y[..., None] - y[..., None, :]) ** 2  # (B, K, P, P)
    near = squared < min_distance**2
    if np.count_nonzero(near) == np.count_nonzero(~np.isnan(x)):  # each is near itself only
        return np.zeros(x.shape, bool)
    higher = scores[..., None, :] > scores[..., None]  # [..., i, j]: whether j scores higher than i
    first = np.tri(x.shape[-1], k=-1, dtype=bool) & (scores[..., None, :] == scores[..., None])
    is_duplicate: Array = (near & (higher | first)).any(axis=-1)
    return is_duplicate


def _padded(peaks: Array, scores: Array, maps: Array, map_count: int, max_peaks: int) -> tuple[Array, Array]:
    """Peaks (E, 2) of maps (E,) as a block per map, highest score first: (map_count, P, 2) and scores (map_count, P)."""
    counts = np.bincount(maps, minlength=map_count)
    held = min(max_peaks, int(counts.max()))
    order = np.lexsort((-scores, maps))
    owners = maps[order]
    ranks = np.arange(len(order)) - (counts.cumsum() - counts)[owners]
    kept = ranks < max_peaks
    cells = np.zeros((map_count, held, 2), np.int64)
    padded_scores = np.zeros((map_count, held), scores.dtype)
    cells[owners[kept], ranks[kept]] = peaks[order[kept]]
    padded_scores[owners[kept], ranks[kept]] = scores[order[kept]]
    return cells, padded_scores


def _hold_keypoint(offsets: Tensor, planes: Array, rows: Array, columns: Array) -> Array:
    """Which of these cells have offsets (B, K, 2, h, w) that end within them, as their neighbors' do: indices (·,).

    Without the neighbors' votes a network that has not learned its offsets yet would find a keypoint in every cell
    around one.
    """
    height, width = offsets.shape[-2:]
    flat, (of_image, of_keypoint, along_y, row, column) = flatten_maps(offsets)
    images, keypoints = np.divmod(planes, offsets.shape[1])
    middle = images * of_image + keypoints * of_keypoint + rows * row + columns * column
    ends = np.stack(gather_cells(flat, middle, (0, along_y)))  # (2, E)
    own = np.flatnonzero((np.abs(ends) <= HALF_CELL).all(axis=0))  # False for NaN
    down, right = (part.reshape(9, 1) for part in np.indices((3, 3)) - 1)  # the cell itself among them
    neighbor_x, neighbor_y = columns[own] + right, rows[own] + down  # (9, ·)
    inside = (neighbor_x >= 0) & (neighbor_x < width) & (neighbor_y >= 0) & (neighbor_y < height)
    index = np.where(inside, middle[own] + down * row + right * column, middle[own])
    to_x, to_y = gather_cells(flat, index, (0, along_y))
    agrees = (to_x + right - ends[0, own]) ** 2 + (to_y + down - ends[1, own]) ** 2 < MAX_DISAGREEMENT**2
    holds: Array = own[(agrees & inside).sum(axis=0) > MIN_VOTES]
    return holds


def _neighbor_steps(row_step: int) -> Array:
    """Steps in a flattened map to the 3x3 cells around one, in reading order: (9, 1). row_step: to the next row."""
    return np.array([down * row_step + right for down in (-1, 0, 1) for right in (-1, 0, 1)])[:, None]


def _log_at(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Logarithms of the values of maps (B, K, h, w) at cells (B, K, P)."""
    return _value_at(maps, x, y).clamp(min=MIN_VALUE).log()


def _value_at(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values of maps (B, K, h, w) at cells (B, K, P)."""
    return maps.flatten(start_dim=2).gather(-1, y * maps.shape[-1] + x)
