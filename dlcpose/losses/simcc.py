"""Loss between found and wanted distributions over bins; NaN in a wanted one means that nothing is asked of its keypoint."""

from torch import Tensor


def bin_divergence(found: Tensor, wanted: Tensor, *, temperature: float = 10.0) -> Tensor:
    """Mean Kullback-Leibler divergence of softmax(temperature · found) from softmax(temperature · wanted): a scalar.

    (B, K, bins) twice; in nats for each asked keypoint, 0 where nothing is asked. RTMPose's own is this times the asked
    keypoints of the batch, over bins and over K: it grows with the batch and says little on fine axes.
    """
    asked = ~wanted.isnan().any(dim=-1)  # (B, K)
    target = (temperature * wanted.nan_to_num(0.0)).log_softmax(dim=-1)
    logarithms = (temperature * found.float()).log_softmax(dim=-1)
    values = (target.exp() * (target - logarithms)).sum(dim=-1)
    return (values * asked).sum() / asked.sum().clamp(min=1)
