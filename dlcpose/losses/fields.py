"""Losses between found and wanted vector fields that are 0 nearly everywhere."""

import torch
from torch import Tensor


def paf_loss(found: Tensor, wanted: Tensor, *, foreground: float = 10.0) -> Tensor:
    """Mean squared length of the difference of fields (B, L, 2, h, w), a scalar, 0 without any field.

    Cells weigh 1 + foreground · |wanted|, and the mean is over the weights: limbs cover a few cells in a hundred, whose
    error would vanish beside that of the empty ones.
    """
    # By component: reductions over a dimension of two take twenty times as long.
    weights = 1 + foreground * torch.hypot(*wanted.unbind(dim=2))  # (B, L, h, w)
    squared = torch.stack([part.square() for part in (found.float() - wanted).unbind(dim=2)]).sum(dim=0)
    error: Tensor = (squared * weights).sum() / weights.sum().clamp(min=1)
    return error
