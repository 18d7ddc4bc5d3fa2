"""Losses between found and wanted heatmaps, both in [0, 1]; NaN in the wanted one means that nothing is asked there."""

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = 1e-7  # of a probability, so that its logarithm is finite
PRESENT = 0.5  # of a wanted map's highest cell: below, the keypoint lies outside and only its slope reaches in


def binary_cross_entropy(found: Tensor, wanted: Tensor, *, foreground: float = 1.0) -> Tensor:
    """Mean cross entropy per keypoint map, cells weighted by 1 + foreground · wanted: a scalar.

    Its least value is the entropy of the wanted map, so what is reported is the excess over that: 0 when they agree.
    """
    asked = ~wanted.isnan()
    target = wanted.nan_to_num(0.0)
    # Autocast forbids this loss in half precision: logarithms of small differences are taken in float32.
    with torch.autocast(found.device.type, enabled=False):
        entropy = functional.binary_cross_entropy(found.float(), target, reduction="none")
        least = functional.binary_cross_entropy(target, target, reduction="none")
    return _mean_of_asked((entropy - least) * (1 + foreground * target), asked)


def located_cross_entropy(found: Tensor, wanted: Tensor, *, foreground: float = 1.0, location: float = 0.1) -> Tensor:
    """Binary cross entropy plus `location` times the divergence of where: a scalar, 0 when the maps agree.

    Where a keypoint is asked for, its map is also compared as a distribution over cells. A thousand cells of background
    then weigh no more than the few of the keypoint, and a fresh network finds its first peaks several times sooner.
    """
    return binary_cross_entropy(found, wanted, foreground=foreground) + location * divergence(found, wanted)


def divergence(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of maps (B, K, h, w) taken as distributions over cells: a scalar.

    Maps that hold no keypoint, or of which nothing is asked, do not count.
    """
    target = wanted.nan_to_num(0.0).flatten(start_dim=2)  # (B, K, h·w)
    holds = target.amax(dim=-1) > PRESENT  # (B, K)
    target = target / target.sum(dim=-1, keepdim=True).clamp(min=SMALLEST)
    logarithm = found.float().flatten(start_dim=2).clamp(min=SMALLEST).log()
    located = logarithm - logarithm.logsumexp(dim=-1, keepdim=True)
    values = functional.kl_div(located, target, reduction="none").sum(dim=-1)  # (B, K)
    return (values * holds).sum() / holds.sum().clamp(min=1)


def mean_squared_error(found: Tensor, wanted: Tensor, *, foreground: float = 10.0) -> Tensor:
    """Mean squared difference, cells weighted by 1 + foreground · wanted: a scalar."""
    asked = ~wanted.isnan()
    target = wanted.nan_to_num(0.0)
    return _mean_of_asked((found.float() - target) ** 2 * (1 + foreground * target), asked)


def _mean_of_asked(values: Tensor, asked: Tensor) -> Tensor:
    return (values * asked).sum() / asked.sum().clamp(min=1)
