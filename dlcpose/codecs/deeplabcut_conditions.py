"""Pose conditions as images, as DeepLabCut 3 renders them: a blurred pixel for each keypoint, the highest value of all 1."""

import torch
from torch import Tensor
from torch.nn import functional


def draw_stacked_pixels(conditions_in_crop: Tensor, sigma: float, radius: int, size: tuple[int, int]) -> Tensor:
    """A channel for each keypoint: (M, K, 2), NaN where missing -> (M, K, H, W) in [0, 1].

    The pixel of a keypoint is that above and to the left of the one it lies in; at 0 that is the one at the far edge.
    Keypoints outside the crop are missing. The blur reaches `radius` pixels and is mirrored at the edges.
    """
    height, width = size
    x, y = conditions_in_crop.unbind(dim=-1)  # (M, K) each
    shown = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)  # False for NaN
    columns = (x.nan_to_num(0.0).long() - 1) % width
    rows = (y.nan_to_num(0.0).long() - 1) % height
    animals, keypoints = x.shape
    flat = conditions_in_crop.new_zeros((animals, keypoints, height * width))
    places = (rows * width + columns).where(shown, 0)
    lit = flat.scatter(-1, places[..., None], shown[..., None].to(flat.dtype)).view(-1, 1, height, width)
    steps = torch.arange(-radius, radius + 1, device=lit.device, dtype=lit.dtype)
    kernel = torch.exp(-(steps**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(lit, (radius, radius, radius, radius), mode="reflect")
    blurred = functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    drawn = blurred.view(animals, keypoints, height, width)
    highest = drawn.amax(dim=(1, 2, 3), keepdim=True) if animals else drawn
    return drawn / highest.where(highest > 0, torch.ones_like(highest)) if animals else drawn
