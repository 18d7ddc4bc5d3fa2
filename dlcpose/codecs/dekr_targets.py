"""Animals as a centre and the ways from there to their keypoints (Geng et al. 2021)."""

import math

import torch
from torch import Tensor


def animal_centers(points_in_map: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of what can be seen of each animal: (B, N, K, 2) cells -> (B, N, 2), NaN where nothing can.

    size: (h, w) of the map. Keypoints outside it do not count: their animal would be sought where there is no map.
    """
    border = points_in_map.new_tensor([size[1] - 0.5, size[0] - 0.5])
    inside = ((points_in_map >= -0.5) & (points_in_map <= border)).all(dim=-1, keepdim=True)
    return points_in_map.where(inside, torch.nan).nanmean(dim=2)


def draw_center_offsets(points_in_map: Tensor, centers_in_map: Tensor, radius: float, size: tuple[int, int]) -> Tensor:
    """At each cell near an animal's centre the way from its keypoints to the cell, cell − keypoint; elsewhere NaN.

    points_in_map: (B, N, K, 2), NaN where missing. centres_in_map: (B, N, 2). radius: half the side of the square of
    cells around a centre, in cells. size: (h, w). Returns (B, K, 2, h, w), x before y.
    Where squares overlap the nearest centre counts, and of equally near ones the smaller animal. The paper lets the
    smaller animal have all: two that lie closer than `radius` are then one, as the other's own centre speaks of it no more.
    """
    batch, animals, keypoints, _ = points_in_map.shape
    cells = _cells(size, points_in_map)
    if animals == 0:
        return points_in_map.new_full((batch, keypoints, 2, *size), torch.nan)
    far = (cells - centers_in_map[..., None, None]).abs()  # (B, N, 2, h, w)
    reached = (far <= radius).all(dim=2)  # (B, N, h, w), NaN is never near
    smaller_first = pose_extents(points_in_map, dim=2).nan_to_num(torch.inf).argsort(dim=1).argsort(dim=1)  # (B, N)
    nearness = (far**2).sum(dim=2) + 1e-4 * smaller_first[..., None, None]
    nearest = nearness.where(reached, torch.inf).argmin(dim=1)  # (B, h, w)
    owners = nearest.flatten(start_dim=1)[..., None].expand(-1, -1, keypoints * 2)
    owned = points_in_map.flatten(start_dim=2).gather(1, owners)  # (B, h·w, K·2)
    owned_points = owned.transpose(1, 2).view(batch, keypoints, 2, *size)
    return (cells - owned_points).where(reached.any(dim=1)[:, None, None], torch.nan)


def pose_extents(points: Tensor, dim: int) -> Tensor:
    """The diagonal of the box around points with x and y in the dimension after `dim`, which both vanish; NaN is left out.

    (..., K, 2, ...) -> (..., ...), NaN without any point.
    """
    missing = points.isnan()
    sides = points.masked_fill(missing, -torch.inf).amax(dim=dim) - points.masked_fill(missing, torch.inf).amin(dim=dim)
    return sides.where(sides >= 0, torch.nan).square().sum(dim=dim).sqrt()


def find_centers(centers: Tensor, displacements: Tensor, sigma: float, most: int) -> tuple[Tensor, Tensor]:
    """The likeliest centres of animals in each image, the surest first.

    centres: (B, h, w) in [0, 1]. ways: (B, K, 2, h, w) as `draw_ways_from_centres` has them. sigma: width of a centre's
    Gaussian. Returns cells (B, P, 2) as x, y and values (B, P), P at most `most`; 0 where there is no further centre.
    A centre is a cell that none of its eight neighbours surpasses. Also one that is as sure as the cell on the very
    centre of an animal and whose own ways meet in that cell: so animals in neighbouring cells do not hide each other.
    """
    highest = torch.nn.functional.max_pool2d(centers[:, None], 3, stride=1, padding=1)[:, 0]
    of_itself = (displacements.nanmean(dim=1).abs() <= 0.5 + 1e-3).all(
        dim=1
    )  # (B, h, w): the mean way is cell − centre
    is_sure = centers >= math.exp(-0.25 / sigma**2) - 1e-4  # half a cell off in x and y
    likely = centers.where((centers == highest) | (of_itself & is_sure), 0.0)
    values, places = likely.flatten(start_dim=1).topk(min(most, likely[0].numel()), dim=1)
    width = centers.shape[-1]
    return torch.stack((places % width, places // width), dim=-1), values


def _cells(size: tuple[int, int], like: Tensor) -> Tensor:
    """x and y of every cell: (2, h, w)."""
    y = torch.arange(size[0], device=like.device, dtype=like.dtype)[:, None].expand(size)
    x = torch.arange(size[1], device=like.device, dtype=like.dtype).expand(size)
    return torch.stack((x, y))
