"""Location refinement: maps that say, near a keypoint, how far from each cell the keypoint lies."""

import torch
from torch import Tensor


def draw_offsets(points_in_map: Tensor, radius: float, size: tuple[int, int]) -> Tensor:
    """The way from each cell to the nearest animal's keypoint, where that is at most `radius` cells off, else NaN.

    points_in_map: (B, N, K, 2) cells, NaN where missing. size: (h, w). Returns (B, K, 2, h, w) in cells, x before y.
    """
    batch, _, keypoints, _ = points_in_map.shape
    ys = torch.arange(size[0], device=points_in_map.device, dtype=points_in_map.dtype)[:, None].expand(size)
    xs = torch.arange(size[1], device=points_in_map.device, dtype=points_in_map.dtype).expand(size)
    displacements = points_in_map.new_full((batch, keypoints, 2, *size), torch.nan)
    shortest = points_in_map.new_full((batch, keypoints, *size), radius**2)
    for points in points_in_map.unbind(
        dim=1
    ):  # (B, K, 2): one animal at a time, so memory does not grow with their number
        to_x = points[..., 0, None, None] - xs  # (B, K, h, w)
        to_y = points[..., 1, None, None] - ys
        squared = to_x**2 + to_y**2
        nearer = squared <= shortest  # NaN is never nearer
        shortest = torch.where(nearer, squared, shortest)
        displacements = torch.where(nearer[:, :, None], torch.stack((to_x, to_y), dim=2), displacements)
    return displacements
