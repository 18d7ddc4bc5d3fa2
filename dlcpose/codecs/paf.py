"""Part affinity fields: maps that say along each limb which way it goes (Cao et al. 2017)."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcpose.codecs.flat_maps import flatten_maps, gather_cells

Array = npt.NDArray[Any]

SMALLEST = 1e-6  # cells: below, two points have no direction
GLANCES = (0.25, 0.5, 0.75)  # along a pair: where it is looked at before it is measured
GLIMPSE = 0.1  # a pair whose field shows less than this at every glance is no limb


def draw_pafs(points_in_map: Tensor, edges: Tensor, half_width: float, size: tuple[int, int]) -> Tensor:
    """The unit vector along each limb at the cells within `half_width` of it; elsewhere 0.

    points_in_map: (B, N, K, 2) cells, a limb with a missing end (NaN) is not drawn. limbs: (L, 2) int64.
    size: (h, w). Returns (B, L, 2, h, w), x before y. Where limbs of several animals lie over each other the nearest
    counts: an average points along neither, and animals that cross would lose both. Ends of no distance have the vector
    (1, 0), as some length must tell of them.
    """
    batch, animals = points_in_map.shape[:2]
    starts, ends = points_in_map[:, :, edges[:, 0]], points_in_map[:, :, edges[:, 1]]  # (B, N, L, 2)
    lengths, units = _directions(ends - starts)  # (B, N, L), (B, N, L, 2)
    ys = torch.arange(size[0], device=points_in_map.device, dtype=points_in_map.dtype)[:, None]
    xs = torch.arange(size[1], device=points_in_map.device, dtype=points_in_map.dtype)
    shortest = points_in_map.new_full((batch, len(edges), *size), half_width**2)
    owner = torch.full_like(shortest, animals, dtype=torch.long)
    for animal in range(animals):  # one at a time, so memory does not grow with their number
        from_x = xs - starts[:, animal, :, 0, None, None]  # (B, L, 1, w)
        from_y = ys - starts[:, animal, :, 1, None, None]  # (B, L, h, 1)
        unit_x, unit_y = units[:, animal, :, :, None, None].unbind(dim=2)  # (B, L, 1, 1)
        along = from_x * unit_x + from_y * unit_y  # (B, L, h, w)
        across = from_x * unit_y - from_y * unit_x
        beyond = along - along.clamp(min=0).minimum(lengths[:, animal, :, None, None])
        squared = across.square_().add_(beyond.square_())
        nearer = squared <= shortest  # NaN is never nearer
        shortest = torch.where(nearer, squared, shortest)
        owner = owner.masked_fill_(nearer, animal)
    drawn = torch.cat((units, units.new_zeros(batch, 1, len(edges), 2)), dim=1).permute(0, 2, 3, 1)  # (B, L, 2, N + 1)
    owners = owner.flatten(start_dim=2)[:, :, None].expand(-1, -1, 2, -1)  # (B, L, 2, h·w)
    return drawn.gather(-1, owners).view(batch, len(edges), 2, *size)


def score_edges(
    fields: Tensor, points_in_map: Array, edges: Array, *, samples: int = 10, farthest: Array | None = None
) -> Array:
    """How well the field of each limb joins candidates of its two keypoints: its line integral from one to the other.

    fields: (B, L, 2, h, w), on any device. points_in_map: (B, K, P, 2) cells, NaN where there is no candidate. limbs:
    (L, 2). samples: places between two candidates where the field is read, between its cells. farthest: (L,) cells,
    longer pairs are left out; below 0 all of a limb's. Returns (B, L, P, P), for fields of length 1 in [−1, 1]: below 0
    the field goes the other way, 0 says that nothing speaks for the pair. Within a cell of each other candidates have
    hardly a direction: there the field's length counts instead.
    """
    places = points_in_map.shape[2]
    affinity = np.zeros((len(fields), len(edges), places, places), np.float32)
    pairs, starts, displacements = _possible_pairs(points_in_map.astype(np.float32, copy=False), edges, farthest)
    if len(pairs):
        # Most pairs are of two animals with nothing between them: three cells tell, for a tenth of the cost.
        images, of_limb = np.divmod(pairs // places**2, len(edges))
        planes = images * fields.stride(0) + of_limb * fields.stride(1)  # where a limb's field begins in memory
        seen = np.flatnonzero(_glance(fields, planes, starts, displacements))
        followed = _follow(fields, planes[seen], starts[:, seen], displacements[:, seen], samples)
        affinity.reshape(-1)[pairs[seen]] = followed
    return affinity


def _possible_pairs(points_in_map: Array, edges: Array, farthest: Array | None) -> tuple[Array, Array, Array]:
    """Pairs of known candidates: (E,) place in (B, L, P, P), x and y of the first (2, E) and from there to the second."""
    points = np.moveaxis(points_in_map, -1, 0)  # (2, B, K, P)
    starts, ends = points[:, :, edges[:, 0]], points[:, :, edges[:, 1]]  # (2, B, L, P)
    displacements = ends[..., None, :] - starts[..., None]  # (2, B, L, P, P)
    limits = np.full(len(edges), np.inf, np.float32) if farthest is None else np.sign(farthest) * farthest**2
    pairs = np.flatnonzero(
        displacements[0] ** 2 + displacements[1] ** 2 <= limits[:, None, None]
    )  # NaN is within no limit
    of_first = pairs // max(points.shape[-1], 1)
    return pairs, starts.reshape(2, -1).take(of_first, axis=1), displacements.reshape(2, -1).take(pairs, axis=1)


def _glance(fields: Tensor, planes: Array, starts: Array, displacements: Array) -> Array:
    """Whether the field goes along each way in a cell looked at; ways within a cell are let pass: (E,)."""
    flat, (_, _, along_y, row, column) = flatten_maps(fields)
    x, y = (
        np.rint(along) for along in _places(fields, starts, displacements, np.array(GLANCES, np.float32))
    )  # (S, E) each
    cells = planes + y.astype(np.int64) * row + x.astype(np.int64) * column
    to_x, to_y = gather_cells(flat, cells, (0, along_y))
    lengths = np.sqrt(displacements[0] ** 2 + displacements[1] ** 2)
    along = to_x * displacements[0] + to_y * displacements[1]
    passed: Array = (along.max(axis=0) > GLIMPSE * lengths) | (lengths < 1)
    return passed


def _follow(fields: Tensor, planes: Array, starts: Array, displacements: Array, samples: int) -> Array:
    """How far the field goes along each way on average, read between cells: (E,)."""
    flat, (_, _, along_y, row, column) = flatten_maps(fields)
    height, width = fields.shape[-2:]
    fractions = ((np.arange(samples) + 0.5) / samples).astype(np.float32)
    x, y = _places(fields, starts, displacements, fractions)  # (S, E) each
    left, top = np.minimum(np.floor(x), max(width - 2, 0)), np.minimum(np.floor(y), max(height - 2, 0))
    right, below = column * min(1, width - 1), row * min(1, height - 1)
    corners = [far + step for far in (0, along_y) for step in (0, right, below, below + right)]
    cells = planes + top.astype(np.int64) * row + left.astype(np.int64) * column
    found = gather_cells(flat, cells, corners)
    to_x, to_y = (_between(found[first : first + 4], x - left, y - top) for first in (0, 4))  # (S, E) each
    lengths = np.sqrt(displacements[0] ** 2 + displacements[1] ** 2)
    units = displacements / np.maximum(lengths, SMALLEST)
    units[:, lengths < SMALLEST] = [[1.0], [0.0]]
    along: Array = (to_x * units[0] + to_y * units[1]).mean(axis=0)
    short = np.flatnonzero(lengths < 1)
    sizes = np.sqrt(to_x[:, short] ** 2 + to_y[:, short] ** 2).mean(axis=0)
    along[short] = sizes + (along[short] - sizes) * lengths[short]
    return along


def _places(fields: Tensor, starts: Array, displacements: Array, fractions: Array) -> list[Array]:
    """x and y of each fraction of each way, within the map: (S, E) each."""
    borders = fields.shape[-1] - 1, fields.shape[-2] - 1
    return [
        np.clip(start + fractions[:, None] * displacement, 0, border)
        for start, displacement, border in zip(starts, displacements, borders, strict=True)
    ]


def _between(corners: list[Array], part_x: Array, part_y: Array) -> Array:
    """Values between four cells, in reading order: of each (S, E)."""
    above = corners[0] + (corners[1] - corners[0]) * part_x
    below = corners[2] + (corners[3] - corners[2]) * part_x
    value: Array = above + (below - above) * part_y
    return value


def _directions(displacements: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (...) and unit vectors (..., 2) of ways; (1, 0) where there is no length."""
    lengths = torch.hypot(displacements[..., 0], displacements[..., 1])
    units = displacements / lengths.clamp(min=SMALLEST)[..., None]
    none = (lengths < SMALLEST)[..., None]
    return lengths, torch.where(
        none, torch.tensor([1.0, 0.0], device=displacements.device, dtype=displacements.dtype), units
    )
