"""Losses of heatmaps in [0, 1]; NaN in the target where unsupervised."""

from typing import Any

import torch
from torch import Tensor

MIN_NORMAL = torch.finfo(torch.float32).tiny  # below, a CPU calculates several times as slowly
MIN_PROBABILITY = 1e-7  # so that its logarithm is finite
MIN_PEAK = 0.5  # of a target map: below, the keypoint lies outside and only its slope is drawn


def binary_cross_entropy(pred: Tensor, target: Tensor, *, foreground: float = 1.0) -> Tensor:
    """Mean binary cross entropy, cells weighted by 1 + foreground · target: a scalar.

    The entropy of the target, which is its lowest value, is subtracted: it is 0 where both agree.
    """
    supervised, target = ~target.isnan(), target.nan_to_num(0.0)
    divergence: Tensor = _BinaryDivergence.apply(pred.float(), target)
    return _masked_mean(divergence * (1 + foreground * target), supervised)


class _BinaryDivergence(torch.autograd.Function):
    """torch's `binary_cross_entropy` by cell, minus the target's entropy: vectorized, several times as fast on a CPU.

    As torch has it, logarithms of predictions are cut at -100 and the gradient's denominator at 1e-12. A prediction of NaN,
    which torch refuses in words of its own and on a GPU by ending the process, has a loss of NaN.
    """

    @staticmethod
    def forward(ctx: Any, pred: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(pred, target)
        complement = 1 - target
        present = _logarithm(target).sub_(pred.log().clamp_(min=-100)).mul_(target)
        absent = _logarithm(complement).sub_(torch.log1p(-pred).clamp_(min=-100)).mul_(complement)
        return present.add_(absent)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        pred, target = ctx.saved_tensors
        return gradient * (pred - target).div_((pred * (1 - pred)).clamp_(min=1e-12)), None


def located_cross_entropy(pred: Tensor, target: Tensor, *, foreground: float = 1.0, location: float = 0.1) -> Tensor:
    """Binary cross entropy plus `location` times `spatial_divergence`: a scalar, 0 where both agree.

    The second term compares a map as a distribution over cells, in which a thousand cells of background weigh no more than
    the few of the keypoint: a fresh network finds its first peaks several times sooner.
    """
    return binary_cross_entropy(pred, target, foreground=foreground) + location * spatial_divergence(pred, target)


def spatial_divergence(pred: Tensor, target: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of maps (B, K, h, w), each normalized to a distribution over cells: a scalar.

    Maps without a keypoint, or unsupervised, do not count.
    """
    target = target.nan_to_num(0.0).flatten(start_dim=2)  # (B, K, h·w)
    has_keypoint = target.amax(dim=-1) > MIN_PEAK  # (B, K)
    target = target / target.sum(dim=-1, keepdim=True).clamp(min=MIN_PROBABILITY)
    logarithm = pred.float().flatten(start_dim=2).clamp(min=MIN_PROBABILITY).log()
    normalized = logarithm - logarithm.logsumexp(dim=-1, keepdim=True)
    values = (target * (_logarithm(target) - normalized)).sum(dim=-1)  # (B, K)
    return _masked_mean(values, has_keypoint)


def mean_squared_error(pred: Tensor, target: Tensor, *, foreground: float = 10.0) -> Tensor:
    """Mean squared difference, cells weighted by 1 + foreground · target: a scalar."""
    supervised, target = ~target.isnan(), target.nan_to_num(0.0)
    return _masked_mean((pred.float() - target) ** 2 * (1 + foreground * target), supervised)


def _logarithm(probabilities: Tensor) -> Tensor:
    """The logarithm, finite at 0: for x · log(x), which torch's `xlogy` takes ten times as long for on a CPU."""
    return probabilities.clamp(min=MIN_NORMAL).log_()


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)
