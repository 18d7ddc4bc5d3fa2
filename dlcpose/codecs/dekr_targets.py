"""DEKR's targets and their decoding: centers of animals, and offsets from there to the keypoints (Geng et al. 2021)."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.peaks import highest_values


def animal_centers(points_in_map: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean of each animal's keypoints within the map: (B, N, K, 2) cells -> (B, N, 2), NaN where there are none.

    size: (h, w) of the map. Keypoints outside do not count, or the center could lie where there is no map.
    """
    border = points_in_map.new_tensor([size[1] - 0.5, size[0] - 0.5])
    inside = ((points_in_map >= -0.5) & (points_in_map <= border)).all(dim=-1, keepdim=True)
    return points_in_map.where(inside, torch.nan).nanmean(dim=2)


def draw_center_offsets(points_in_map: Tensor, centers_in_map: Tensor, radius: float, size: tuple[int, int]) -> Tensor:
    """Offsets keypoint − cell of an animal's keypoints at each cell near its center; NaN elsewhere.

    points_in_map: (B, N, K, 2) cells, NaN where missing. centers_in_map: (B, N, 2). radius: half the side of the square
    around a center, in cells. size: (h, w). Returns (B, K, 2, h, w) in cells, x before y.
    Where squares overlap the nearest center counts, and of equally near ones the smaller animal. (The paper gives the
    smaller animal the whole square, so of two centers nearer than `radius` the other animal's own cell would be lost.)
    """
    batch, animals, keypoints, _ = points_in_map.shape
    cells = _cells(size, points_in_map)
    if animals == 0:
        return points_in_map.new_full((batch, keypoints, 2, *size), torch.nan)
    distances = (cells - centers_in_map[..., None, None]).abs()  # (B, N, 2, h, w)
    reached = (distances <= radius).all(dim=2)  # (B, N, h, w), False for NaN
    smaller_first = pose_extents(points_in_map, dim=2).nan_to_num(torch.inf).argsort(dim=1).argsort(dim=1)  # (B, N)
    order = (distances**2).sum(dim=2) + 1e-4 * smaller_first[..., None, None]
    nearest = order.where(reached, torch.inf).argmin(dim=1)  # (B, h, w)
    owners = nearest.flatten(start_dim=1)[..., None].expand(-1, -1, keypoints * 2)
    owned = points_in_map.flatten(start_dim=2).gather(1, owners)  # (B, h·w, K·2)
    owned_points = owned.transpose(1, 2).view(batch, keypoints, 2, *size)
    return (owned_points - cells).where(reached.any(dim=1)[:, None, None], torch.nan)


def pose_extents(points: Tensor, dim: int) -> Tensor:
    """The diagonal of the box around K points, x and y in the dimension after `dim`: (..., K, 2, ...) -> (..., ...).

    NaN points are left out; NaN where none is left.
    """
    missing = points.isnan()
    sides = points.masked_fill(missing, -torch.inf).amax(dim=dim) - points.masked_fill(missing, torch.inf).amin(dim=dim)
    return sides.where(sides >= 0, torch.nan).square().sum(dim=dim).sqrt()


def find_centers(centers: Tensor, offsets: Tensor, sigma: float, max_centers: int) -> tuple[Tensor, Tensor]:
    """Candidate centers of animals in each image, highest score first.

    centers: (B, h, w) in [0, 1]. offsets: (B, K, 2, h, w) as from `draw_center_offsets`. sigma: of a center's Gaussian, in
    cells. Returns cells (B, P, 2) as x, y and scores (B, P), P is `max_centers`; a score of 0 marks padding.
    A candidate is a local maximum of 3x3 cells. So is a cell with a score as high as the cell that holds a center has, and
    whose own offsets have their mean within the cell: animals centered in neighboring cells do not hide each other.
    """
    highest = functional.max_pool2d(centers[:, None], 3, stride=1, padding=1)[:, 0]
    known = ~offsets.isnan()
    means = offsets.where(known, 0.0).sum(dim=1) / known.sum(dim=1)  # nanmean, which ONNX has no operator for
    holds_own_center = (means.abs() <= 0.5 + 1e-3).all(dim=1)  # (B, h, w): mean offset = center − cell
    is_high = centers >= math.exp(-0.25 / sigma**2) - 1e-4  # half a cell off in x and y
    candidates = centers.where((centers == highest) | (holds_own_center & is_high), 0.0)
    scores, places = highest_values(candidates.flatten(start_dim=1), max_centers)
    width = centers.shape[-1]
    return torch.stack((places % width, places // width), dim=-1), scores


def _cells(size: tuple[int, int], like: Tensor) -> Tensor:
    """x and y of every cell: (2, h, w)."""
    y = torch.arange(size[0], device=like.device, dtype=like.dtype)[:, None].expand(size)
    x = torch.arange(size[1], device=like.device, dtype=like.dtype).expand(size)
    return torch.stack((x, y))
