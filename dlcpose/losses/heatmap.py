"""Losses of heatmaps in [0, 1]; NaN in the target where unsupervised."""

import torch
from torch import Tensor
from torch.nn import functional

MIN_PROBABILITY = 1e-7  # so that its logarithm is finite
MIN_PEAK = 0.5  # of a target map: below, the keypoint lies outside and only its slope is drawn


def binary_cross_entropy(pred: Tensor, target: Tensor, *, foreground: float = 1.0) -> Tensor:
    """Mean binary cross entropy, cells weighted by 1 + foreground · target: a scalar.

    The entropy of the target, which is its lowest value, is subtracted: it is 0 where both agree.
    """
    supervised, target = ~target.isnan(), target.nan_to_num(0.0)
    # Autocast forbids this loss in half precision: logarithms of small differences are taken in float32.
    with torch.autocast(pred.device.type, enabled=False):
        # torch refuses NaN, in words of its own and on a GPU by ending the process: the loss is to be NaN there.
        pred = pred.float()
        cross_entropy = functional.binary_cross_entropy(pred.nan_to_num(0.5), target, reduction="none")
        cross_entropy = torch.where(pred.isnan(), pred, cross_entropy)
        entropy = functional.binary_cross_entropy(target, target, reduction="none")
    return _masked_mean((cross_entropy - entropy) * (1 + foreground * target), supervised)


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
    values = functional.kl_div(normalized, target, reduction="none").sum(dim=-1)  # (B, K)
    return _masked_mean(values, has_keypoint)


def mean_squared_error(pred: Tensor, target: Tensor, *, foreground: float = 10.0) -> Tensor:
    """Mean squared difference, cells weighted by 1 + foreground · target: a scalar."""
    supervised, target = ~target.isnan(), target.nan_to_num(0.0)
    return _masked_mean((pred.float() - target) ** 2 * (1 + foreground * target), supervised)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)
