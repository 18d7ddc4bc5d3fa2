"""Base class of metrics, and the figures of several metrics on one set of predictions."""

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import dlcpose.metrics
from dlcpose.metrics.figure_info import RUN_FIGURES, FigureInfo, is_described
from dlcpose.metrics.matching import MatchedAnimals, match_frames
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton


@dataclass(frozen=True)
class EvaluatedFrames:
    """The input of metrics: predictions[i] of the frame of labels[i], each frame once, F frames in all.

    pcutoff: the score that the project of the labels asks of a keypoint, None where it has none.
    Raises ValueError when predictions and labels do not belong together.
    """

    predictions: Sequence[PosePrediction]
    labels: Sequence[FrameLabels]
    skeleton: Skeleton
    pcutoff: float | None = None

    def __post_init__(self) -> None:
        _check_frames(self)

    @cached_property
    def matched(self) -> MatchedAnimals:
        """Predictions matched to ground truth, computed once for all metrics."""
        return match_frames(self.predictions, self.labels, self.skeleton)


class Metric(ABC):
    """A metric computes figures of evaluated frames and knows what they mean.

    A subclass states in `figures` the facts about each figure that it returns, by name, or by a pattern such as
    `pck@{}` for a family of figures. Settings are arguments of its constructor.
    """

    figures: ClassVar[Mapping[str, FigureInfo]]

    @abstractmethod
    def __call__(self, frames: EvaluatedFrames) -> dict[str, float]:
        """The figures by name, NaN where the data does not define one. There may be no frames at all."""


def figures_of(metrics: Mapping[str, Metric], frames: EvaluatedFrames) -> dict[str, float]:
    """The figures of every metric in one flat mapping, in the order of the metrics.

    Raises ConfigError when two metrics give the same name, or one gives a name that its `figures` do not describe.
    """
    figures: dict[str, float] = {}
    for name, metric in metrics.items():
        more = metric(frames)
        if repeated := sorted(figures.keys() & more.keys()):
            raise ConfigError(f"metric.{name}: {repeated} is given by another metric already. Remove one of the two.")
        if unknown := [each for each in more if not is_described(each, metric.figures)]:
            raise ConfigError(
                f"metric.{name}: {type(metric).__name__} returns {unknown[0]!r}, but its `figures` describe only "
                f"{', '.join(metric.figures)}. Add a FigureInfo for it."
            )
        figures |= more
    return figures


def infos_of(metrics: Mapping[str, Metric]) -> dict[str, FigureInfo]:
    """The facts about all figures that these metrics, and any run, give; in the order of the metrics."""
    infos = {name: info for metric in metrics.values() for name, info in metric.figures.items()}
    return infos | dict(RUN_FIGURES)


def builtin_infos() -> dict[str, FigureInfo]:
    """The facts about the figures of every metric of this package: for runs without a metrics_info.json of their own."""
    infos: dict[str, FigureInfo] = {}
    for module in pkgutil.iter_modules(dlcpose.metrics.__path__, "dlcpose.metrics."):
        for value in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(value) and issubclass(value, Metric) and value is not Metric:
                infos |= value.figures
    return infos | dict(RUN_FIGURES)


def _check_frames(frames: EvaluatedFrames) -> None:
    """Raises ValueError unless predictions and labels are of the same frames, with K keypoints each."""
    predictions, labels, keypoints = frames.predictions, frames.labels, len(frames.skeleton)
    if len(predictions) != len(labels):
        raise ValueError(f"Expected a prediction for each of the {len(labels)} labeled frames, got {len(predictions)}.")
    for prediction, frame in zip(predictions, labels, strict=True):
        if prediction.key != frame.key:
            raise ValueError(f"Expected the prediction of frame {frame.key}, got that of {prediction.key}.")
        for whose, shape in (("predicted", prediction.keypoints_in_image.shape), ("labeled", frame.visibility.shape)):
            if shape[1] != keypoints:
                raise ValueError(f"{frame.key}: expected {keypoints} keypoints, got {shape[1]} {whose}.")
    if len(keys := {frame.key for frame in labels}) != len(labels):
        raise ValueError(f"Expected each frame once, got {len(labels)} labeled frames with {len(keys)} keys.")
