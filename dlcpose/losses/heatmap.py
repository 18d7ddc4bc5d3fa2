"""Losses between found and wanted heatmaps, both in [0, 1]; NaN in the wanted one means that nothing is asked there."""

import torch
from torch import Tensor
from torch.nn import functional


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


def mean_squared_error(found: Tensor, wanted: Tensor, *, foreground: float = 10.0) -> Tensor:
    """Mean squared difference, cells weighted by 1 + foreground · wanted: a scalar."""
    asked = ~wanted.isnan()
    target = wanted.nan_to_num(0.0)
    return _mean_of_asked((found.float() - target) ** 2 * (1 + foreground * target), asked)


def _mean_of_asked(values: Tensor, asked: Tensor) -> Tensor:
    return (values * asked).sum() / asked.sum().clamp(min=1)
