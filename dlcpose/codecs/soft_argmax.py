"""Soft-argmax: the place of a map's peak as a mean over cells, through which gradients flow (Luvizon et al. 2019)."""

import torch
from torch import Tensor

# Of a map's values, before they are normalized to a distribution over cells: thousands of cells of background at a
# hundredth of the peak then weigh nothing, while a second peak of nearly its height still counts, and is learned from.
POWER = 4.0
MIN_SUM = 1e-12


def soft_peaks(maps: Tensor, power: float = POWER) -> Tensor:
    """The mean cell of each map, weighted by its values to a power: (B, K, h, w) in [0, 1] -> (B, K, 2) as x, y.

    It does not depend on a map's height: only on the proportions of its values. A map that is 0 has its middle.
    """
    height, width = maps.shape[-2:]
    # Relative to the highest value, so that the power of a low peak is not rounded to 0.
    highest = maps.detach().flatten(start_dim=-2).amax(dim=-1)[..., None, None].clamp(min=MIN_SUM)
    weights = (maps / highest).clamp(min=0) ** power + MIN_SUM  # (B, K, h, w)
    across, down = weights.sum(dim=-2), weights.sum(dim=-1)  # (B, K, w), (B, K, h)
    columns = torch.arange(width, device=maps.device, dtype=maps.dtype)
    rows = torch.arange(height, device=maps.device, dtype=maps.dtype)
    x = (across * columns).sum(dim=-1) / across.sum(dim=-1)
    y = (down * rows).sum(dim=-1) / down.sum(dim=-1)
    return torch.stack((x, y), dim=-1)


def soft_places(logits: Tensor, sharpness: float = 2.0) -> Tensor:
    """The mean bin of softmax(sharpness · logits) along one axis: (B, K, bins) -> (B, K)."""
    bins = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    return ((sharpness * logits).softmax(dim=-1) * bins).sum(dim=-1)
