"""Loss of SimCC's distributions over bins; NaN in the target of an unsupervised keypoint."""

from torch import Tensor


def bin_divergence(pred: Tensor, target: Tensor, *, temperature: float = 10.0) -> Tensor:
    """Mean Kullback-Leibler divergence of softmax(temperature · pred) from softmax(temperature · target): a scalar.

    (B, K, bins) twice; in nats per supervised keypoint, 0 where there is none. RTMPose's own loss is this times the number
    of supervised keypoints, divided by bins and K: it grows with the batch and shrinks on fine axes.
    """
    supervised = ~target.isnan().any(dim=-1)  # (B, K)
    log_target = (temperature * target.nan_to_num(0.0)).log_softmax(dim=-1)
    log_pred = (temperature * pred.float()).log_softmax(dim=-1)
    values = (log_target.exp() * (log_target - log_pred)).sum(dim=-1)
    return (values * supervised).sum() / supervised.sum().clamp(min=1)
