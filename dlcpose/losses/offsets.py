"""Losses between found and wanted vectors to keypoints; NaN in the wanted ones means that nothing is asked there."""

from torch import Tensor
from torch.nn import functional


def huber(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean Huber loss over the asked cells: (B, K, 2, h, w) twice -> a scalar, 0 where nothing is asked."""
    asked = ~wanted.isnan()
    # NaN leaves before the subtraction: masking afterwards cleans the loss but not its gradient (0 · NaN is NaN).
    values = functional.huber_loss(found.float(), wanted.where(asked, found.detach().float()), reduction="none")
    return values.sum() / asked.sum().clamp(min=1)
