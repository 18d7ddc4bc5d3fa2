"""Location refinement: maps that give, near a keypoint, the offset from each cell to it (Insafutdinov et al. 2016)."""

import torch
from torch import Tensor

MIN_RADIUS = 3.0  # cells: a cell beside the keypoint's own may be the peak, and its neighbors' offsets are read too


def as_vectors(maps: Tensor) -> Tensor:
    """Maps of x and y in turn as vectors: (B, 2K, h, w) -> (B, K, 2, h, w)."""
    batch, _, height, width = maps.shape
    return maps.reshape(batch, -1, 2, height, width)  # unflatten would leave the size in an exported graph a constant


def draw_offsets(points_in_map: Tensor, radius: float, size: tuple[int, int]) -> Tensor:
    """Offsets keypoint − cell to the nearest animal's keypoint where that is at most `radius` cells away, else NaN.

    points_in_map: (B, N, K, 2) cells, NaN where missing. size: (h, w). Returns (B, K, 2, h, w) in cells, x before y.
    """
    batch, _, keypoints, _ = points_in_map.shape
    ys = torch.arange(size[0], device=points_in_map.device, dtype=points_in_map.dtype)[:, None].expand(size)
    xs = torch.arange(size[1], device=points_in_map.device, dtype=points_in_map.dtype).expand(size)
    offsets = points_in_map.new_full((batch, keypoints, 2, *size), torch.nan)
    shortest = points_in_map.new_full((batch, keypoints, *size), radius**2)
    # One animal at a time, so that memory does not grow with their number.
    for points in points_in_map.unbind(dim=1):  # (B, K, 2)
        to_x = points[..., 0, None, None] - xs  # (B, K, h, w)
        to_y = points[..., 1, None, None] - ys
        squared = to_x**2 + to_y**2
        nearer = squared <= shortest  # False for NaN
        shortest = torch.where(nearer, squared, shortest)
        offsets = torch.where(nearer[:, :, None], torch.stack((to_x, to_y), dim=2), offsets)
    return offsets
