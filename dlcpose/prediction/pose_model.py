"""What predicts poses in batches of frames, whether torch runs it or something else."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.skeleton import Skeleton


class PoseModel(Protocol):
    """All that prediction may know of a model; `pipelines.base.PoseModule` is one, and `graph_model.GraphModel`."""

    @property
    def skeleton(self) -> Skeleton:
        """Names and order of the keypoints."""

    @property
    def frame_input(self) -> Input:
        """How whole frames are read."""

    @property
    def needs_labels(self) -> bool:
        """Whether it predicts only in labeled images."""

    @property
    def finds_one_animal(self) -> bool:
        """Whether it finds one animal in a frame, always the same."""

    @property
    def box_rule(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """The rule that makes boxes of poses, where the model looks into boxes that come from elsewhere."""

    @property
    def fixed_precision(self) -> str | None:
        """The precision that it was made in, where no other can be chosen."""

    @property
    def conditional(self) -> Any:
        """The model as one that is conditioned on poses (`pipelines.base.TakesConditions`), None where it is not."""

    def compute_maps(self, batch: PoseBatch) -> Any:
        """The first half of a prediction, up to the networks' maps. One with a box rule also takes `boxes` of each frame."""

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        """The second half: the animals that the maps show, in pixels of the source image."""

    def oracles(self) -> dict[str, Callable[[PoseBatch], list[PosePrediction]]]:
        """Other ways to predict a labeled batch, by name, that are given more: how much a component costs."""

    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """Both halves."""
