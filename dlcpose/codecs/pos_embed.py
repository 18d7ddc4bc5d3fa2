"""Sine position embeddings of a map's cells, for attention layers."""

import math

import torch
from torch import Tensor


def sine_pos_embed(
    size: tuple[int, int], width: int, *, temperature: float = 10_000.0, device: torch.device | None = None
) -> Tensor:
    """The fixed position embedding of TransPose and TokenPose for a map of size (h, w): (h, w, width).

    The first half encodes the row, the second the column; both span one full turn whatever the size of the map. In each
    half sines and cosines of the same angle alternate, and the frequency falls from pair to pair, down to nearly
    1 / temperature. Raises ValueError where width is not a multiple of 4.
    Source: Yang et al. 2021 (TransPose), section 3.1.
    """
    if width <= 0 or width % 4:
        raise ValueError(f"expected a width that is a multiple of 4, a sine and a cosine for x and y each, got {width}")
    rows = _along(size[0], width // 2, temperature, device)[:, None].expand(*size, -1)  # (h, w, width / 2)
    columns = _along(size[1], width // 2, temperature, device).expand(*size, -1)
    return torch.cat((rows, columns), dim=-1)


def _along(length: int, width: int, temperature: float, device: torch.device | None) -> Tensor:
    """Sines and cosines along one side: (length, width)."""
    turns = torch.arange(1, length + 1, device=device, dtype=torch.float32) / length  # the last cell has turned fully
    slowness = temperature ** (torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)  # (width / 2,)
    angles = 2 * math.pi * turns[:, None] / slowness
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(start_dim=1)
