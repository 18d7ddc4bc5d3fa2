"""Loss of location refinement; NaN in the target where unsupervised."""

from torch import Tensor
from torch.nn import functional


def huber(pred: Tensor, target: Tensor) -> Tensor:
    """Mean Huber loss over supervised elements: (B, K, 2, h, w) twice -> a scalar, 0 where all is unsupervised."""
    supervised = ~target.isnan()
    # NaN leaves before the subtraction: masking afterward cleans the loss but not its gradient (0 · NaN is NaN).
    values = functional.huber_loss(pred.float(), target.where(supervised, pred.detach().float()), reduction="none")
    return values.sum() / supervised.sum().clamp(min=1)
