"""Losses of a model of one animal on clips of videos without labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlcpose.heads.base import Head, SoftKeypoints
from dlcpose.structures.errors import ConfigError
from dlcpose.unlabeled.video import VideoObjective


def clip_losses(
    estimator: nn.Module, images: Tensor, clips: int, objective: VideoObjective, strength: float
) -> dict[str, Tensor]:
    """The terms on so many clips, named `unlabeled_NAME`: normalized images (C·T, 3, H, W), clip by clip.

    Frames of a clip are nearly the same image, so their batch statistics are those of no other batch: batch-norm layers
    take the running ones, as they will when the model predicts, and leave them as they are.
    """
    with _running_statistics(estimator):
        maps = estimator(images)
    soft = cast(SoftKeypoints, estimator.head.soft_keypoints(maps.animals))  # type: ignore[operator, union-attr]
    points, scores = (each.reshape(clips, -1, *each.shape[1:]) for each in soft)  # (C, T, K, 2), (C, T, K)
    return {f"unlabeled_{name}": value for name, value in objective(points, scores, strength).items()}


def check_learns_from_clips(model: object, *, finds_one_animal: bool, head: Head | None) -> None:
    """Raises ConfigError for a model whose keypoints cannot be followed through a clip by a gradient."""
    if head is not None and finds_one_animal and head.decodes_softly:
        return
    if finds_one_animal:
        reason = f"{type(head).__name__} cannot decode its keypoints so that gradients flow (decodes_softly)"
        choice = "Take a heatmap or rtmcc head"
    else:
        reason = (
            f"{type(model).__name__} finds several animals, or crops of them, in a frame, and which is which in the next is "
            "not known while it is trained"
        )
        choice = "Take a single-animal model"
    raise ConfigError(
        f"unlabeled.losses: {reason}. {choice}, or unlabeled/losses=none: pseudo-labels need none of them."
    )


@contextmanager
def _running_statistics(network: nn.Module) -> Iterator[None]:
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.training]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()
