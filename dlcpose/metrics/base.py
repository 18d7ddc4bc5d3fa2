"""What every metric is, and how several are taken of one set of predictions."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton


class Metric(Protocol):
    """Figures of predictions[i] against labels[i], by flat name; NaN where the data does not define one."""

    def __call__(
        self, predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton
    ) -> dict[str, float]:
        """The figures."""


def figures_of(
    metrics: Mapping[str, Metric],
    predictions: Sequence[PosePrediction],
    labels: Sequence[FrameLabels],
    skeleton: Skeleton,
) -> dict[str, float]:
    """The figures of every metric in one flat mapping, in the order of the metrics.

    Raises ValueError when predictions and labels do not belong together, ConfigError when two metrics give one name.
    """
    figures: dict[str, float] = {}
    for name, metric in metrics.items():
        more = metric(predictions, labels, skeleton)
        if twice := sorted(figures.keys() & more.keys()):
            raise ConfigError(f"metric.{name}: {twice} is given by another metric already. Remove one of the two.")
        figures |= more
    return figures


def check_frames(predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton) -> None:
    """Raises ValueError unless predictions[i] is of the frame of labels[i], each frame once, with K keypoints each."""
    if len(predictions) != len(labels):
        raise ValueError(
            f"Expected a prediction for each of the {len(labels)} labelled frames, got {len(predictions)}."
        )
    for prediction, frame in zip(predictions, labels, strict=True):
        if prediction.key != frame.key:
            raise ValueError(f"Expected the prediction of frame {frame.key}, got that of {prediction.key}.")
        for whose, shape in (("predicted", prediction.keypoints_in_image.shape), ("labelled", frame.visibility.shape)):
            if shape[1] != len(skeleton):
                raise ValueError(f"{frame.key}: expected {len(skeleton)} keypoints, got {shape[1]} {whose}.")
    if len(seen := {frame.key for frame in labels}) != len(labels):
        raise ValueError(f"Expected each frame once, got {len(labels)} labelled frames of {len(seen)} names.")
