"""Loss of part affinity fields, which are 0 nearly everywhere."""

from typing import Any

import torch
from torch import Tensor


def paf_loss(pred: Tensor, target: Tensor, *, foreground: float = 10.0) -> Tensor:
    """Weighted mean squared length of the difference of fields (B, L, 2, h, w): a scalar, 0 for no edges.

    Cells weigh 1 + foreground · |target|, normalized by their sum: edges cover a few percent of the cells, whose error
    would vanish beside that of the empty ones.
    """
    weights = torch.hypot(*target.unbind(dim=2)).mul_(foreground).add_(1)  # (B, L, h, w)
    squares: Tensor = _WeightedSquares.apply(pred, target, weights[:, :, None])
    return squares / weights.sum().clamp(min=1)


class _WeightedSquares(torch.autograd.Function):
    """The sum of weights · (pred − target)², in half of autograd's passes over memory: fields of all pairs are large."""

    @staticmethod
    def forward(ctx: Any, pred: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        difference = pred.to(torch.float32, copy=True).sub_(target)
        weighted = difference * weights
        ctx.save_for_backward(weighted)
        ctx.dtype = pred.dtype
        return difference.mul_(weighted).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weighted,) = ctx.saved_tensors
        return (weighted * (2 * gradient)).to(ctx.dtype), None, None
