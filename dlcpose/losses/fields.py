"""Loss of part affinity fields, which are 0 nearly everywhere."""

from typing import Any

import torch
from torch import Tensor


def paf_loss(pred: Tensor, target: Tensor, *, foreground: float = 10.0) -> Tensor:
    """Weighted mean squared length of the difference of fields (B, L, 2, h, w): a scalar, 0 for no edges.

    Cells weigh 1 + foreground · |target|, normalized by their sum: edges cover a few percent of the cells, whose error
    would vanish beside that of the empty ones.
    """
    vectors = _vectors(target)
    # Both coordinates in one comparison: as floats, side by side in memory, they take four times as long.
    drawn = (vectors.view(torch.int64)[:, 0] != 0).nonzero()[:, 0]  # (D,)
    there = vectors.index_select(0, drawn)
    weights = torch.hypot(*there.unbind(dim=1)).mul_(foreground)  # (D,) beside the 1 that all cells weigh
    squares: Tensor = _WeightedSquares.apply(_vectors(pred), drawn, there, weights[:, None])
    return squares / (len(vectors) + weights.sum()).clamp(min=1)


def _vectors(fields: Tensor) -> Tensor:
    """Fields (B, L, 2, h, w) as vectors (B · h · w · L, 2), the order in which a network's maps lie in memory."""
    return fields.float().permute(0, 3, 4, 1, 2).reshape(-1, 2).contiguous()


class _WeightedSquares(torch.autograd.Function):
    """The sum of (1 + weights) · (pred − target)², of targets (D, 2) that are 0 but at the D places that are drawn.

    Elsewhere it is pred² alone: two passes over memory in place of ten; fields of all pairs are large.
    """

    @staticmethod
    def forward(ctx: Any, pred: Tensor, drawn: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        difference = pred.index_select(0, drawn).sub_(target)
        weighted = difference + weights * difference
        empty = pred.index_fill(0, drawn, 0.0)
        ctx.save_for_backward(empty, drawn, weighted)
        return torch.dot(empty.flatten(), empty.flatten()) + (weighted * difference).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        empty, drawn, weighted = ctx.saved_tensors
        return (empty * (2 * gradient)).index_copy_(0, drawn, weighted * (2 * gradient)), None, None, None
