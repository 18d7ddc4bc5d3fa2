"""Part affinity fields: unit vectors along the edges of animals, drawn and integrated (Cao et al. 2017, section 2.2)."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcpose.codecs.flat_maps import flatten_maps, gather_cells

Array = npt.NDArray[Any]

AT_ONCE = 8  # animals that are drawn side by side, so that memory does not grow with their number
TIE = 1e-5  # squared cells by which of two animals equally near the later is nearer; float32 tells them apart
MIN_LENGTH = 1e-6  # cells: below, two points have no direction
PROBES = (0.25, 0.5, 0.75)  # places along a pair that are read before its integral is computed
MIN_HALF_WIDTH = 1.5  # cells: all four cells that a bilinear sample on an edge reads then hold its vector
MIN_PROBE = 0.1  # a pair along which the field is weaker than this at every probe has no integral


def draw_pafs(points_in_map: Tensor, edges: Tensor, half_width: float, size: tuple[int, int]) -> Tensor:
    """The unit vector along each edge at the cells within `half_width` cells of it; elsewhere 0.

    points_in_map: (B, N, K, 2) cells; an edge with a missing end (NaN) is not drawn. edges: (L, 2) int64.
    size: (h, w). Returns (B, L, 2, h, w), x before y. Where edges of several animals overlap the nearest counts, of
    equally near ones the later: their average points along neither, and animals that cross would lose both. An edge of
    length 0 has the vector (1, 0), so that the field is not 0 there.
    """
    batch, animals = points_in_map.shape[:2]
    height, width = size
    if not animals or not len(edges):
        return points_in_map.new_zeros((batch, len(edges), 2, height, width))
    starts, ends = points_in_map[:, :, edges[:, 0]], points_in_map[:, :, edges[:, 1]]  # (B, N, L, 2)
    # Edges last, as a network's maps lie in memory: what is calculated of both goes through them side by side.
    cells = batch * height * width * len(edges)
    shortest, fields = points_in_map.new_full((cells,), math.inf), points_in_map.new_zeros((cells, 2))
    for begin in range(0, animals, AT_ONCE):
        some = slice(begin, min(begin + AT_ONCE, animals))
        which, x, y, squared, unit = _cells_along(starts[:, some], ends[:, some], half_width, size)
        image_and_animal, edge = which // len(edges), which % len(edges)
        image, animal = image_and_animal // (some.stop - begin), begin + image_and_animal % (some.stop - begin)
        place = ((image * height + y) * width + x) * len(edges) + edge
        squared = squared - TIE * animal
        shortest.scatter_reduce_(0, place, squared, "amin")
        nearest = _indices(squared <= shortest.index_select(0, place))
        fields.index_copy_(0, place.index_select(0, nearest), unit.index_select(0, nearest))
    return fields.view(batch, height, width, len(edges), 2).permute(0, 3, 4, 1, 2)


def _cells_along(
    starts: Tensor, ends: Tensor, half_width: float, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The cells of a map (h, w) within `half_width` of edges from starts to ends (B, N, L, 2), in no order.

    Returns the edge of each as its place among the B·N·L, x and y, (M,) int64, its squared distance (M,) and the edge's
    unit vector (M, 2).
    """
    lengths, units = _directions(ends - starts)  # (B, N, L), (B, N, L, 2)
    # Edges cover a few cells in a hundred: distances are calculated within their boxes alone.
    which, x, y = _cells_in_boxes(
        torch.minimum(starts, ends) - half_width, torch.maximum(starts, ends) + half_width, size
    )
    start_x, start_y = (_picked(part, which) for part in starts.unbind(dim=-1))  # (M,) each
    unit_x, unit_y = (_picked(part, which) for part in units.unbind(dim=-1))
    from_x, from_y = x - start_x, y - start_y
    along = from_x * unit_x + from_y * unit_y
    across = from_x * unit_y - from_y * unit_x
    beyond = along - along.clamp(min=0).minimum(_picked(lengths, which))
    squared = across.square() + beyond.square()
    near = _indices(squared <= half_width**2)
    which, x, y, squared = (each.index_select(0, near) for each in (which, x, y, squared))
    return which, x, y, squared, units.reshape(-1, 2).index_select(0, which)


def _cells_in_boxes(low: Tensor, high: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """The cells of a map (h, w) within boxes (..., 2), none of those with NaN: which box, x and y, (M,) int64 each."""
    last = low.new_tensor([size[1] - 1, size[0] - 1])
    first = low.ceil().clamp(min=0)
    extents = (torch.minimum(high.floor(), last) - first + 1).nan_to_num(0.0).clamp(min=0).long().reshape(-1, 2)
    counts = extents.prod(dim=-1)
    which = torch.repeat_interleave(torch.arange(len(counts), device=low.device), counts)
    within = torch.arange(len(which), device=low.device) - _picked(counts.cumsum(dim=0) - counts, which)
    left, top = (_picked(part, which) for part in first.nan_to_num(0.0).long().unbind(dim=-1))
    down = within // _picked(extents[:, 0], which)
    return which, left + within - down * _picked(extents[:, 0], which), top + down


def _picked(values: Tensor, which: Tensor) -> Tensor:
    """Some of the values (...), by their places among all: (M,)."""
    return values.flatten().index_select(0, which)  # several times as fast as values[which] on a CPU


def _indices(mask: Tensor) -> Tensor:
    """The places at which a mask (M,) is true: int64."""
    return mask.nonzero()[:, 0]


def score_edges(
    fields: Tensor, points_in_map: Array, edges: Array, *, samples: int = 10, max_lengths: Array | None = None
) -> Array:
    """The affinity of candidates of each edge's two keypoints: the field's line integral from one to the other.

    fields: (B, L, 2, h, w), on any device. points_in_map: (B, K, P, 2) cells, NaN for padding. edges: (L, 2). samples:
    places along a pair where the field is sampled, bilinearly. max_lengths: (L,) cells, longer pairs are left out; below 0
    all of an edge's. Returns (B, L, P, P), in [−1, 1] for fields of length 1: negative where the field points the other
    way, 0 for pairs that were left out or have no field. Candidates within a cell of each other have hardly a direction:
    there the field's length counts instead.
    """
    places = points_in_map.shape[2]
    affinity = np.zeros((len(fields), len(edges), places, places), np.float32)
    pairs, starts, displacements = _possible_pairs(points_in_map.astype(np.float32, copy=False), edges, max_lengths)
    if len(pairs):
        # Most pairs are of two animals with no field between them: three cells show it, for a tenth of the cost.
        images, of_edge = np.divmod(pairs // places**2, len(edges))
        planes = images * fields.stride(0) + of_edge * fields.stride(1)  # where an edge's field begins in memory
        probed = np.flatnonzero(_has_field(fields, planes, starts, displacements))
        integrals = _line_integrals(fields, planes[probed], starts[:, probed], displacements[:, probed], samples)
        affinity.reshape(-1)[pairs[probed]] = integrals
    return affinity


def _possible_pairs(points_in_map: Array, edges: Array, max_lengths: Array | None) -> tuple[Array, Array, Array]:
    """Pairs of candidates: (E,) index into (B, L, P, P), x and y of the first (2, E), and the displacement to the second."""
    # Not strided views of x and y: the differences of all pairs would take eight times as long.
    x, y = np.ascontiguousarray(np.moveaxis(points_in_map, -1, 0))  # (B, K, P) each
    start_x, start_y = x[:, edges[:, 0]], y[:, edges[:, 0]]  # (B, L, P)
    end_x, end_y = x[:, edges[:, 1]], y[:, edges[:, 1]]
    squared = (end_x[..., None, :] - start_x[..., None]) ** 2 + (end_y[..., None, :] - start_y[..., None]) ** 2
    limits = np.full(len(edges), np.inf, np.float32) if max_lengths is None else np.sign(max_lengths) * max_lengths**2
    pairs = np.flatnonzero(squared <= limits[:, None, None])  # of (B, L, P, P); not NaN
    places = max(x.shape[-1], 1)
    of_first = pairs // places  # of (B, L, P), as of_second
    of_second = of_first // places * places + pairs % places
    starts = np.stack((start_x.take(of_first), start_y.take(of_first)))
    return pairs, starts, np.stack((end_x.take(of_second), end_y.take(of_second))) - starts


def _has_field(fields: Tensor, planes: Array, starts: Array, displacements: Array) -> Array:
    """Whether the field points along each pair at one of the probes; pairs within a cell pass: (E,) bool."""
    flat, (_, _, along_y, row, column) = flatten_maps(fields)
    probes = _sample_points(fields, starts, displacements, np.array(PROBES, np.float32))
    x, y = (np.rint(places) for places in probes)  # (S, E) each
    cells = planes + y.astype(np.int64) * row + x.astype(np.int64) * column
    to_x, to_y = gather_cells(flat, cells, (0, along_y))
    lengths = np.sqrt(displacements[0] ** 2 + displacements[1] ** 2)
    along = to_x * displacements[0] + to_y * displacements[1]
    has_field: Array = (along.max(axis=0) > MIN_PROBE * lengths) | (lengths < 1)
    return has_field


def _line_integrals(fields: Tensor, planes: Array, starts: Array, displacements: Array, samples: int) -> Array:
    """The mean of the field's component along each pair, sampled bilinearly: (E,)."""
    flat, (_, _, along_y, row, column) = flatten_maps(fields)
    height, width = fields.shape[-2:]
    fractions = ((np.arange(samples) + 0.5) / samples).astype(np.float32)
    x, y = _sample_points(fields, starts, displacements, fractions)  # (S, E) each
    left, top = np.minimum(np.floor(x), max(width - 2, 0)), np.minimum(np.floor(y), max(height - 2, 0))
    right, below = column * min(1, width - 1), row * min(1, height - 1)
    corners = [component + step for component in (0, along_y) for step in (0, right, below, below + right)]
    cells = planes + top.astype(np.int64) * row + left.astype(np.int64) * column
    values = gather_cells(flat, cells, corners)
    to_x, to_y = (_bilinear(values[first : first + 4], x - left, y - top) for first in (0, 4))  # (S, E) each
    lengths = np.sqrt(displacements[0] ** 2 + displacements[1] ** 2)
    units = displacements / np.maximum(lengths, MIN_LENGTH)
    units[:, lengths < MIN_LENGTH] = [[1.0], [0.0]]
    along: Array = (to_x * units[0] + to_y * units[1]).mean(axis=0)
    short = np.flatnonzero(lengths < 1)
    sizes = np.sqrt(to_x[:, short] ** 2 + to_y[:, short] ** 2).mean(axis=0)
    along[short] = sizes + (along[short] - sizes) * lengths[short]
    return along


def _sample_points(fields: Tensor, starts: Array, displacements: Array, fractions: Array) -> list[Array]:
    """x and y at each fraction of each pair, clipped to the map: (S, E) each."""
    borders = fields.shape[-1] - 1, fields.shape[-2] - 1
    return [
        np.clip(start + fractions[:, None] * displacement, 0, border)
        for start, displacement, border in zip(starts, displacements, borders, strict=True)
    ]


def _bilinear(corners: list[Array], fraction_x: Array, fraction_y: Array) -> Array:
    """Values between four cells, given in reading order: (S, E)."""
    above = corners[0] + (corners[1] - corners[0]) * fraction_x
    below = corners[2] + (corners[3] - corners[2]) * fraction_x
    value: Array = above + (below - above) * fraction_y
    return value


def _directions(displacements: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (...) and unit vectors of displacements (..., 2); (1, 0) for length 0."""
    lengths = torch.hypot(displacements[..., 0], displacements[..., 1])
    units = displacements / lengths.clamp(min=MIN_LENGTH)[..., None]
    none = (lengths < MIN_LENGTH)[..., None]
    return lengths, torch.where(
        none, torch.tensor([1.0, 0.0], device=displacements.device, dtype=displacements.dtype), units
    )
