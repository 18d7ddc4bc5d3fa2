"""Top-down models: a detector's boxes are cut out of the frames, and a head for one animal sees one crop at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcpose.detectors.base import Boxes, BoxRule, Detector
from dlcpose.pipelines.animal_crops import CROPS_PER_PASS, AnimalCrops, CropSettings, cut_crops
from dlcpose.pipelines.base import PoseEstimator, PoseMaps
from dlcpose.pipelines.components import Components
from dlcpose.pipelines.crop_poses import animals_in_frames, nms_predictions, sure_boxes
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PoseInstances, PosePrediction


class CropMaps(NamedTuple):
    """The output maps of a top-down model's networks for a batch."""

    boxes: tuple[Boxes, ...]  # of each frame
    crops: AnimalCrops
    maps: tuple[PoseMaps, ...]  # of CROPS_PER_PASS crops each


class TopDown(PoseEstimator):
    """Detector, then pose: the pose network sees crops of the input's height and width, frames stay at native size.

    Backbone, neck and head are trained in crops around the ground-truth boxes, jittered like a detector's errors; the
    detector is trained before and stays as it is. Other animals that a crop shows are no targets. crops: their settings.
    Raises ConfigError for an input without a height and a width.
    """

    groups: ClassVar[frozenset[str]] = PoseEstimator.groups | {"detector"}
    one_animal_per_crop: ClassVar[bool] = True
    detector: Detector

    def __init__(self, components: Components, *, crops: CropSettings) -> None:
        super().__init__(components)
        self.detector.requires_grad_(False)
        assert self.model_input.canvas is not None
        self.crop_size = self.model_input.canvas
        self.settings = crops
        self.train()

    @classmethod
    def check_components(cls, components: Components) -> None:
        super().check_components(components)
        components.required("detector")
        if components.model_input.canvas is None:
            raise ConfigError(
                f"input: {cls.__name__} cuts crops of one size, this input has none. "
                "Take input=resize with input.height= and input.width=."
            )

    @property
    def crop_settings(self) -> CropSettings:
        """The settings of its crops."""
        return self.settings

    @property
    def frame_input(self) -> Input:
        """Frames at their native size: crops are cut from all the pixels there are."""
        return self.model_input.at_native_size()

    @property
    def summary(self) -> str:
        """What the model predicts, as text for the plan of a run."""
        without = ", without the unique keypoints" if self.skeleton.unique else ""  # a crop may not show them
        return f"{super().summary}, in crops of {self.crop_size[1]}x{self.crop_size[0]}{without}"

    @property
    def needs_labels(self) -> bool:
        """Whether it predicts only in labeled images."""
        return self.detector.needs_labels

    @property
    def box_rule(self) -> BoxRule | None:
        """The detector's, of the boxes that it is trained by."""
        return self.detector.box_rule

    def stages(self) -> tuple[str, ...]:
        """The detector, unless it has nothing to train or came trained from a checkpoint; then the poses."""
        return ("detector", "pose") if self.detector.is_trainable and not self.detector.is_trained else ("pose",)

    def train(self, mode: bool = True) -> "TopDown":
        """Training mode, except for the detector."""
        super().train(mode)
        self.detector.eval()
        return self

    def oracles(self) -> dict[str, Callable[[PoseBatch], list[PosePrediction]]]:
        """Predictions in the ground-truth boxes, the upper bound for a better detector."""
        return {} if self.detector.needs_labels else {"true_boxes": self.predict_in_gt_boxes}

    def compute_maps(self, batch: PoseBatch, boxes: Sequence[Boxes] | None = None) -> Any:
        """The maps of all animals' crops. boxes: those of each frame, in place of the detector's."""
        if boxes is None:
            boxes = sure_boxes(self.detected(batch), self.settings.threshold)
        crops = self.crops(batch, [each.boxes_in_frame for each in boxes])
        return CropMaps(tuple(boxes), crops, tuple(self._maps_of_crops(crops)))

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        """The animals in each image by descending score."""
        boxes, crops, _ = maps
        scores = torch.cat([each.scores for each in boxes])
        instances = self._decode_crops(maps.maps)
        in_frame = self._instances_in_frame(instances, crops, scores, len(batch))
        return self._nms_predictions(batch, in_frame, [each.boxes_in_frame for each in boxes])[0]

    def predict_in_gt_boxes(self, batch: PoseBatch) -> list[PosePrediction]:
        """The labeled animals' poses in their ground-truth boxes; boxes_in_image is NaN, as there was no detection."""
        crops = self.gt_crops(batch)
        return self._predictions_of_crops(batch, self._decode_crops(self._maps_of_crops(crops)), crops)

    def training_step(self, batch: PoseBatch, batch_index: int) -> Tensor:
        """The loss of all crops of one batch."""
        # Seeded by the place in the run, not by torch's generator: a resumed run goes on with the same numbers.
        rng = np.random.default_rng((self.settings.seed, self.current_epoch, batch_index, self.global_rank))
        return self._training_loss(self.gt_crops(batch, rng))

    def _training_loss(self, crops: AnimalCrops) -> Tensor:
        if len(crops):
            return self._step(self.network_input(crops), "train")[0]
        # Without a crop every parameter still takes part, or distributed training would wait for its gradient.
        return torch.stack([weight.sum() for weight in self.parameters() if weight.requires_grad]).sum() * 0.0

    def validation_step(self, batch: PoseBatch, batch_index: int) -> None:
        """Keep the losses of one batch, and its predictions in ground-truth boxes, for the epoch's figures.

        The detector is fixed while poses are trained: its boxes would add the same errors to every epoch.
        """
        self._validate_crops(batch, self.gt_crops(batch))

    def _validate_crops(self, batch: PoseBatch, crops: AnimalCrops) -> None:
        instances = self.decode(self._step(self.network_input(crops), "val")[1]) if len(crops) else []
        self.epoch_record.val_predictions += self._predictions_of_crops(batch, instances, crops)

    # ------------------------------------------------------------------------------------------- from frames to crops

    def crops(self, batch: PoseBatch, boxes_in_frame: Sequence[Tensor]) -> AnimalCrops:
        """The crops around the boxes (M, 4) of each frame: uint8, without labels."""
        return cut_crops(batch, boxes_in_frame, self.crop_size, self.settings)

    def gt_crops(self, batch: PoseBatch, rng: np.random.Generator | None = None) -> AnimalCrops:
        """The labeled crops of all animals with a labeled keypoint and a box in the frame; jittered where rng is given."""
        all_boxes = self.detector.gt_boxes(batch)  # (B, N, 4)
        has_label = ~batch.keypoints_in_crop.isnan().any(dim=-1).all(dim=-1)  # (B, N)
        is_shown = has_label & ~all_boxes.isnan().any(dim=-1)  # (B, N)
        boxes = all_boxes[is_shown]  # (M, 4)
        if rng is not None:
            boxes = self.settings.jitter(boxes, rng)
        crops = self.crops(batch, torch.split(boxes, is_shown.sum(dim=1).tolist()))
        return crops.with_labels(batch, is_shown.nonzero(as_tuple=True)[1])

    def network_input(self, crops: AnimalCrops) -> PoseBatch:
        """The crops as the network takes them."""
        return self.normalized(crops.batch)

    # ------------------------------------------------------------------------------------------- from crops to frames

    def _maps_of_crops(self, crops: AnimalCrops) -> Iterator[PoseMaps]:
        """The maps of the crops, some at a time; none where there is no crop, as some networks take no empty batch."""
        for some in crops.split(CROPS_PER_PASS) if len(crops) else ():
            yield self(self.network_input(some).images)

    def _decode_crops(self, maps: Iterable[PoseMaps]) -> list[PoseInstances]:
        """The animals in each crop."""
        return [instances for some in maps for instances in self.decode(self._checked(some))]

    def _predictions_of_crops(
        self, batch: PoseBatch, instances: Sequence[PoseInstances], crops: AnimalCrops
    ) -> list[PosePrediction]:
        box_scores = torch.ones(len(crops), device=crops.frame_indices.device)
        return self.predictions_in_image(batch, self._instances_in_frame(instances, crops, box_scores, len(batch)))

    def _instances_in_frame(
        self, instances: Sequence[PoseInstances], crops: AnimalCrops, box_scores: Tensor, frames: int
    ) -> list[PoseInstances]:
        """The animals of each frame in its pixels, one for each crop, scored by the product of box and pose."""
        return animals_in_frames(instances, crops, box_scores, frames, len(self.skeleton))

    def _nms_predictions(
        self, batch: PoseBatch, instances: Sequence[PoseInstances], boxes: Sequence[Tensor]
    ) -> tuple[list[PosePrediction], list[Tensor]]:
        """The predictions that pose NMS keeps, by descending score, and their places (M,) among each frame's instances."""
        return nms_predictions(batch, instances, boxes, self.skeleton.sigmas, self.settings.nms_oks)
