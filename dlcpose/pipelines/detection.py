"""A detector alone: boxes, no poses."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from dlcpose.detectors.base import Detector
from dlcpose.metrics.base import Metric
from dlcpose.pipelines.base import PoseModule
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PoseInstances, PosePrediction, instances_of
from dlcpose.structures.skeleton import Skeleton


class Detection(PoseModule):
    """Trains a detector by the true boxes, and predicts animals of which only the box and its score are known.

    Raises ConfigError for a detector that has nothing to learn.
    """

    is_detector_only: ClassVar[bool] = True

    def __init__(
        self,
        detector: Detector,
        *,
        model_input: Input,
        skeleton: Skeleton,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[..., dict[str, Any]] | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__(
            model_input=model_input, skeleton=skeleton, optimizer=optimizer, scheduler=scheduler, metrics=metrics
        )
        if not detector.learns:
            raise ConfigError(
                f"detector: {type(detector).__name__} has nothing to learn, so there is nothing to train alone. "
                "Choose detector=centernet, or another of conf/detector."
            )
        self.detector = detector

    @property
    def finds(self) -> str:
        """What it finds, for the plan of a run."""
        return "boxes"

    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """The boxes in each image; no keypoint of their animals is known."""
        found = self.detector.detect(batch)
        animals = [self._without_poses(scores) for _, scores in found]
        return self.predictions_in_image(batch, animals, [boxes for boxes, _ in found])

    def _without_poses(self, scores: Tensor) -> PoseInstances:
        shape = (len(scores), len(self.skeleton))
        return instances_of(scores.new_full((*shape, 2), np.nan), scores.new_zeros(shape), scores)

    def _step(self, batch: PoseBatch, split: str) -> Tensor:
        return self.log_losses(self.detector.losses(batch), split, len(batch))

    def training_step(self, batch: PoseBatch, batch_index: int) -> Tensor:
        """The loss of one batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: PoseBatch, batch_index: int) -> None:
        """The loss of one batch, and its boxes for the epoch's figures."""
        self._step(batch, "val")
        self.validated += self.predict_batch(batch)
