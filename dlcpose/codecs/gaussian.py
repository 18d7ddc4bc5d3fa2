"""Gaussian heatmaps of keypoints."""

import torch
from torch import Tensor

MIN_FACTOR = torch.finfo(torch.float32).tiny ** 0.5  # products of two are normal numbers, which a CPU is fast with


def draw_gaussians(points_in_map: Tensor, sigma: float, size: tuple[int, int]) -> Tensor:
    """A heatmap per keypoint: 1 at each animal's keypoint, the maximum where animals overlap.

    points_in_map: (B, N, K, 2) cells, NaN is not drawn; of points outside the map the part within is drawn.
    sigma: standard deviation in cells. size: (h, w) of the map. Returns (B, K, h, w) in [0, 1], centered between cells too.
    """
    # A Gaussian is the product of one in x and one in y: two outer factors are much cheaper than h·w exponentials.
    # Keypoints last, as a network's maps lie in memory: what is calculated of both goes through them side by side.
    x, y = points_in_map.unbind(dim=-1)  # (B, N, K) each
    across = torch.arange(size[1], device=points_in_map.device, dtype=points_in_map.dtype)[:, None]  # (w, 1)
    down = torch.arange(size[0], device=points_in_map.device, dtype=points_in_map.dtype)[:, None]  # (h, 1)
    in_x = _bell(across - x[:, :, None], sigma)  # (B, N, w, K)
    in_y = _bell(down - y[:, :, None], sigma)  # (B, N, h, K)
    if points_in_map.shape[1] == 0:
        return points_in_map.new_zeros((points_in_map.shape[0], points_in_map.shape[2], *size))
    return (in_y[:, :, :, None] * in_x[:, :, None]).amax(dim=1).permute(0, 3, 1, 2)  # (B, K, h, w)


def _bell(distances: Tensor, sigma: float) -> Tensor:
    """A Gaussian of distances, 0 where it is below `MIN_FACTOR` or the distance is NaN."""
    values = torch.exp(-(distances**2) / (2 * sigma**2))
    return torch.where(values >= MIN_FACTOR, values, 0.0)
