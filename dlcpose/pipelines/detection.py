"""A detector trained and evaluated on its own: it predicts boxes without poses."""

from typing import ClassVar

from torch import Tensor

from dlcpose.detectors.base import Detector
from dlcpose.pipelines.base import PoseModule
from dlcpose.pipelines.components import Components
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PoseInstances, PosePrediction


class Detection(PoseModule):
    """Trains a detector on the ground-truth boxes; of predicted animals only the box and its score are known.

    Raises ConfigError for a detector that cannot be trained.
    """

    groups: ClassVar[frozenset[str]] = frozenset({"detector"})
    detector: Detector

    @classmethod
    def check_components(cls, components: Components) -> None:
        super().check_components(components)
        detector: Detector = components.required("detector")
        if not detector.is_trainable:
            raise ConfigError(
                f"detector: {type(detector).__name__} has nothing to train, so it cannot be trained alone. "
                "Choose detector=centernet, or another of conf/detector."
            )

    @property
    def summary(self) -> str:
        """What the model predicts, as text for the plan of a run."""
        return "boxes"

    def stages(self) -> tuple[str, ...]:
        """Only the detector."""
        return ("detector",)

    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """The boxes in each image as animals without keypoints."""
        detections = self.detected(batch)
        animals = [PoseInstances.without_keypoints(scores, len(self.skeleton)) for _, scores in detections]
        return self.predictions_in_image(batch, animals, [boxes for boxes, _ in detections])

    def _step(self, batch: PoseBatch, split: str) -> Tensor:
        return self.log_losses(self.detector.losses(batch), split, len(batch))

    def training_step(self, batch: PoseBatch, batch_index: int) -> Tensor:
        """The loss of one batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: PoseBatch, batch_index: int) -> None:
        """Keep the losses and boxes of one batch for the epoch's figures."""
        self._step(batch, "val")
        self.epoch_record.val_predictions += self.predict_batch(batch)
