"""The interface of models for prediction, whether torch runs them or another runtime."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.skeleton import Skeleton


class PoseModel(Protocol):
    """A model as prediction uses it; `pipelines.base.PoseModule` and `graph_model.GraphModel` implement it."""

    @property
    def skeleton(self) -> Skeleton:
        """Names and order of the keypoints."""

    @property
    def frame_input(self) -> Input:
        """The input that whole frames are brought to."""

    @property
    def needs_labels(self) -> bool:
        """Whether it predicts only in labeled images."""

    @property
    def finds_one_animal(self) -> bool:
        """Whether it finds one animal in a frame, always the same."""

    @property
    def finds_unique(self) -> bool:
        """Whether it looks for the skeleton's unique keypoints."""

    @property
    def box_rule(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """The rule for boxes around poses, where the model can predict in boxes from another source."""

    @property
    def fixed_precision(self) -> str | None:
        """The only precision that it can run in, None for any."""

    @property
    def conditional(self) -> Any:
        """The model itself where it takes pose conditions (`pipelines.base.TakesConditions`), else None."""

    @property
    def estimator(self) -> Any:
        """The model itself where it is a network of torch that predicts poses (`pipelines.base.PoseEstimator`), else None."""

    def compute_maps(self, batch: PoseBatch) -> Any:
        """The first half of `predict_batch`, the networks' maps. With a box rule it also takes `boxes` of each frame."""

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        """The second half: the animals decoded from the maps, in pixels of the source image."""

    def oracles(self) -> dict[str, Callable[[PoseBatch], list[PosePrediction]]]:
        """By name, predictions of a labeled batch with a component replaced by ground truth: they show its errors."""

    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """Both halves."""
