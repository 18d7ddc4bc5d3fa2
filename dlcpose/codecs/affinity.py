"""Part affinity fields: maps that say along each limb which way it goes (Cao et al. 2017)."""

import torch
from torch import Tensor

SMALLEST = 1e-6  # cells: below, two points have no direction
GLANCES = (0.25, 0.5, 0.75)  # along a pair: where it is looked at before it is measured
GLIMPSE = 0.1  # a pair whose field shows less than this at every glance is no limb


def draw_fields(points_in_map: Tensor, limbs: Tensor, half_width: float, size: tuple[int, int]) -> Tensor:
    """The unit vector along each limb at the cells within `half_width` of it; elsewhere 0.

    points_in_map: (B, N, K, 2) cells, a limb with a missing end (NaN) is not drawn. limbs: (L, 2) int64.
    size: (h, w). Returns (B, L, 2, h, w), x before y. Where limbs of several animals lie over each other the nearest
    counts: an average points along neither, and animals that cross would lose both. Ends of no distance have the vector
    (1, 0), as some length must tell of them.
    """
    batch, animals = points_in_map.shape[:2]
    starts, ends = points_in_map[:, :, limbs[:, 0]], points_in_map[:, :, limbs[:, 1]]  # (B, N, L, 2)
    lengths, units = _directions(ends - starts)  # (B, N, L), (B, N, L, 2)
    ys = torch.arange(size[0], device=points_in_map.device, dtype=points_in_map.dtype)[:, None]
    xs = torch.arange(size[1], device=points_in_map.device, dtype=points_in_map.dtype)
    shortest = points_in_map.new_full((batch, len(limbs), *size), half_width**2)
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
    drawn = torch.cat((units, units.new_zeros(batch, 1, len(limbs), 2)), dim=1).permute(0, 2, 3, 1)  # (B, L, 2, N + 1)
    owners = owner.flatten(start_dim=2)[:, :, None].expand(-1, -1, 2, -1)  # (B, L, 2, h·w)
    return drawn.gather(-1, owners).view(batch, len(limbs), 2, *size)


def measure_pairs(
    fields: Tensor,
    points_in_map: Tensor,
    limbs: Tensor,
    *,
    samples: int = 10,
    farthest: Tensor | None = None,
) -> Tensor:
    """How well the field of each limb joins candidates of its two keypoints: its line integral from one to the other.

    fields: (B, L, 2, h, w). points_in_map: (B, K, P, 2) cells, NaN where there is no candidate. limbs: (L, 2) int64.
    samples: places between two candidates where the field is read, between its cells. farthest: (L,) cells, longer pairs
    are left out; below 0 all of a limb's. Returns (B, L, P, P), for fields of length 1 in [−1, 1]: below 0 the field goes
    the other way, 0 says that nothing speaks for the pair. Within a cell of each other candidates have hardly a
    direction: there the field's length counts instead.
    """
    # index_select from flat tensors: on a CPU it takes a fifth of the time of an index in brackets.
    pairs, starts, ways = _possible_pairs(points_in_map, limbs, farthest)
    if not len(pairs):
        return fields.new_zeros((len(fields), len(limbs), points_in_map.shape[2], points_in_map.shape[2]))
    places, cells = points_in_map.shape[2], fields.shape[-2] * fields.shape[-1]
    # Most pairs are of two animals with nothing between them: three cells tell, for a tenth of the cost.
    planes = pairs // places**2 * (2 * cells)
    (seen,) = _glance(fields, planes, starts, ways).nonzero(as_tuple=True)
    pairs, planes = pairs.index_select(0, seen), planes.index_select(0, seen)
    starts, ways = starts.index_select(1, seen), ways.index_select(1, seen)
    affinity = _follow(fields, planes, starts, ways, samples)
    shape = (len(fields), len(limbs), places, places)
    return fields.new_zeros(shape).view(-1).index_copy_(0, pairs, affinity).view(shape)


def _possible_pairs(points_in_map: Tensor, limbs: Tensor, farthest: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of known candidates: (E,) place in (B, L, P, P), x and y of the first (2, E) and from there to the second."""
    points = points_in_map.permute(3, 0, 1, 2)  # (2, B, K, P)
    starts = points.index_select(2, limbs[:, 0])  # (2, B, L, P)
    ways = points.index_select(2, limbs[:, 1])[..., None, :] - starts[..., None]  # (2, B, L, P, P)
    limits = ways.new_full((len(limbs),), torch.inf) if farthest is None else farthest.sign() * farthest**2
    squared = ways[0] ** 2 + ways[1] ** 2
    (pairs,) = (squared <= limits[:, None, None]).flatten().nonzero(as_tuple=True)  # NaN is within no limit
    of_first = pairs // max(points.shape[-1], 1)
    return (
        pairs,
        starts.flatten(start_dim=1).index_select(1, of_first),
        ways.flatten(start_dim=1).index_select(1, pairs),
    )


def _glance(fields: Tensor, planes: Tensor, starts: Tensor, ways: Tensor) -> Tensor:
    """Whether the field goes along each way in a cell looked at; ways within a cell are let pass: (E,)."""
    fractions = torch.tensor(GLANCES, device=fields.device)[:, None]
    x, y = _places(fields, starts, ways, fractions).round_()  # (S, E)
    found = _read(fields, planes + (y * fields.shape[-1] + x).long(), [(0, 0)])  # (2, 1, S, E)
    along = found[0, 0] * ways[0] + found[1, 0] * ways[1]
    lengths = torch.hypot(*ways)
    return (along > GLIMPSE * lengths).any(dim=0) | (lengths < 1)


def _follow(fields: Tensor, planes: Tensor, starts: Tensor, ways: Tensor, samples: int) -> Tensor:
    """How far the field goes along each way on average, read between cells: (E,)."""
    height, width = fields.shape[-2:]
    fractions = ((torch.arange(samples, device=fields.device) + 0.5) / samples)[:, None]
    places = _places(fields, starts, ways, fractions)  # (2, S, E)
    last = torch.tensor([width - 2, height - 2], device=fields.device).clamp_(min=0)[:, None, None]
    corners = places.floor().minimum(last)
    right, below = min(1, width - 1), min(1, height - 1)
    index = planes + (corners[1] * width + corners[0]).long()
    found = _read(fields, index, [(0, 0), (0, right), (below, 0), (below, right)])  # (2, 4, S, E)
    part_x, part_y = places.sub_(corners)
    rows = found[:, 0::2].lerp(found[:, 1::2], part_x)  # (2, 2, S, E)
    field = rows[:, 0].lerp(rows[:, 1], part_y)  # (2, S, E)
    lengths, units = _directions(ways.T)
    along = (field[0] * units[:, 0] + field[1] * units[:, 1]).mean(dim=0)
    return torch.hypot(*field).mean(dim=0).lerp(along, lengths.clamp_(max=1))


def _places(fields: Tensor, starts: Tensor, ways: Tensor, fractions: Tensor) -> Tensor:
    """x and y of each fraction of each way, within the map: (2, S, E)."""
    edge = torch.tensor([fields.shape[-1] - 1, fields.shape[-2] - 1], device=fields.device)[:, None, None]
    return torch.addcmul(starts[:, None], ways[:, None], fractions).clamp_(min=0).minimum(edge)


def _read(fields: Tensor, index: Tensor, steps: list[tuple[int, int]]) -> Tensor:
    """x and y of the fields, some steps of (rows, columns) from places in their flat x: (S, E) -> (2, steps, S, E)."""
    height, width = fields.shape[-2:]
    far = [axis * height * width + rows * width + columns for axis in (0, 1) for rows, columns in steps]
    every = index + torch.tensor(far, device=index.device)[:, None, None]
    return fields.flatten().index_select(0, every.flatten()).view(2, len(steps), *index.shape)


def _directions(ways: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (...) and unit vectors (..., 2) of ways; (1, 0) where there is no length."""
    lengths = torch.hypot(ways[..., 0], ways[..., 1])
    units = ways / lengths.clamp(min=SMALLEST)[..., None]
    none = (lengths < SMALLEST)[..., None]
    return lengths, torch.where(none, torch.tensor([1.0, 0.0], device=ways.device, dtype=ways.dtype), units)
