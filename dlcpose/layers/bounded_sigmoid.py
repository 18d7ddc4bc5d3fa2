"""The sigmoid of maps that are learned as probabilities."""

from torch import Tensor

MAX_LOGIT = 15.0  # of which the sigmoid in float32 is still below 1


def bounded_sigmoid(logits: Tensor) -> Tensor:
    """The sigmoid in float32, of logits cut to ±15, with the gradient of logits that are not cut.

    Beyond 16.6 the sigmoid is 1 in float32: the cross entropy jumps there from 16 to 100 and its gradient is 0, so that a
    network that is sure of a wrong place would never unlearn it. So it has the gradient that the cross entropy of logits has.
    """
    logits = logits.float()
    bounded = logits.clamp(-MAX_LOGIT, MAX_LOGIT)
    return (logits + (bounded - logits).detach() if logits.requires_grad else bounded).sigmoid()
