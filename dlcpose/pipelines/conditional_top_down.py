"""Conditional top-down models (BUCTD, Zhou et al. 2023): crops around another model's poses, with these as a second input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcpose.codecs.affine import apply_affine
from dlcpose.codecs.boxes import clip_boxes
from dlcpose.codecs.pose_conditions import rng_for_frame
from dlcpose.conditions.base import ConditionSource, PoseConditions
from dlcpose.detectors.base import Boxes, BoxRule, Detector
from dlcpose.detectors.pose_boxes import PoseDetector
from dlcpose.fusions.base import Fusion
from dlcpose.pipelines.animal_crops import AnimalCrops
from dlcpose.pipelines.base import PoseMaps, TakesConditions
from dlcpose.pipelines.components import Components
from dlcpose.pipelines.top_down import TopDown
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PoseInstances, PosePrediction


@dataclass(frozen=True)
class ConditionalCrops(AnimalCrops):
    """Crops around pose conditions, and the conditions in them."""

    conditions_in_crop: Tensor  # (M, K, 2) px, NaN where missing


class ConditionalMaps(NamedTuple):
    """What a batch's conditions give. used: places (M,) of each frame's conditions that have a crop; boxes: theirs (M, 4);
    scores: those of the conditions of all crops; maps: of some crops each."""

    used: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    scores: Tensor
    crops: ConditionalCrops
    maps: tuple[PoseMaps, ...]


class ConditionalTopDown(TopDown):
    """A top-down model that sees each crop together with a pose, and predicts the animal that this pose belongs to.

    In prediction the conditions are the detector's poses: those of a bottom-up model, or of a file. In training they come
    from the condition source. Other animals in a crop are no targets, and a condition that belongs to no animal has an
    empty target: its prediction is to score low. Without conditions an image has no animals. Prediction with given
    conditions and with the detector's both go through `_conditional_maps` and `_decode_conditional_maps`: a subclass
    overrides these.
    crops: as in TopDown, around the conditions' boxes; its threshold is the minimum score of a condition.
    Raises ConfigError for a detector that finds only boxes, or none where the condition source needs poses.
    """

    groups: ClassVar[frozenset[str]] = TopDown.groups | {"condition", "fusion"}
    detector: PoseDetector
    fusion: Fusion
    condition: ConditionSource

    @classmethod
    def check_components(cls, components: Components) -> None:
        super().check_components(components)
        components.required("fusion")
        _check_detector(components.required("detector"), components.required("condition"))

    @property
    def channels(self) -> int:
        """Channels of what `forward` takes: those of the image, then those of the rendered condition."""
        return 3 + self.fusion.channels

    @property
    def box_rule(self) -> BoxRule | None:
        """None: it needs poses, which boxes alone do not give."""
        return None

    @property
    def summary(self) -> str:
        """What the model predicts, as text for the plan of a run."""
        return f"{super().summary}, around {self.detector.origin}"

    def forward(self, images: Tensor) -> PoseMaps:
        """The heads' output maps of normalized crops with rendered conditions (M, 3 + channels of the condition, H, W)."""
        pixels, rendered = torch.split(images, [3, self.fusion.channels], dim=1)
        return self._head_maps(self.neck(self.fusion(self.backbone, pixels, rendered)))

    def compile_networks(self, backend: str) -> None:
        """Have torch compile the networks, as far as the fusion allows."""
        self.fusion.compile_networks(self.backbone, backend)
        for network in (self.neck, self.head, *self.side_heads.values()):
            network.compile(backend=backend)

    @property
    def conditional(self) -> TakesConditions:
        """The model itself."""
        return self

    def detect_conditions(self, batch: PoseBatch) -> list[PoseInstances]:
        """The detector's poses, in the frame's pixels."""
        return self.detector.detect_poses(batch)

    def oracles(self) -> dict[str, Callable[[PoseBatch], list[PosePrediction]]]:
        """The conditions themselves as predictions, the baseline that this model improves on."""
        return {"conditions": self.predict_conditions}

    def compute_maps(self, batch: PoseBatch, boxes: Sequence[Boxes] | None = None) -> Any:
        """The maps of the crops around the detector's poses, whose own maps are decoded on the way.

        Raises ValueError for boxes: see `box_rule`.
        """
        if boxes is not None:
            raise ValueError(
                "This model predicts around poses, expected no boxes: give it poses, by predict_with_conditions."
            )
        return self._conditional_maps(batch, self.detect_conditions(batch))

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        """The animals in each image by descending score."""
        return self._decode_conditional_maps(batch, maps)[0]

    def predict_conditions(self, batch: PoseBatch) -> list[PosePrediction]:
        """The conditions of a batch: the detector's poses."""
        return self.predictions_in_image(batch, self.detect_conditions(batch))

    def predict_with_conditions(
        self, batch: PoseBatch, conditions: Sequence[PoseInstances]
    ) -> tuple[list[PosePrediction], list[Tensor]]:
        """The animals in each image by descending score, conditioned on these poses in the frame's pixels.

        Beside the predictions, the place of each animal's condition among those of its frame: (M,) for each image.
        """
        return self._decode_conditional_maps(batch, self._conditional_maps(batch, conditions))

    def _conditional_maps(self, batch: PoseBatch, conditions: Sequence[PoseInstances]) -> ConditionalMaps:
        """The maps of the crops around the usable ones of these poses, wherever they come from."""
        used, boxes = zip(*(self._usable(each, batch) for each in conditions), strict=True)
        chosen = PoseInstances.concatenate([each[indices] for each, indices in zip(conditions, used, strict=True)])
        crops = self._crops_around(batch, boxes, chosen.keypoints_in_crop)
        return ConditionalMaps(used, boxes, chosen.scores, crops, tuple(self._maps_of_crops(crops)))

    def _decode_conditional_maps(
        self, batch: PoseBatch, maps: ConditionalMaps
    ) -> tuple[list[PosePrediction], list[Tensor]]:
        """The animals in each image by descending score, and the place of each one's condition."""
        instances = self._decode_crops(maps.maps)
        in_frame = self._instances_in_frame(instances, maps.crops, maps.scores, len(batch))
        predictions, kept = self._nms_predictions(batch, in_frame, maps.boxes)
        return predictions, [places[indices] for places, indices in zip(maps.used, kept, strict=True)]

    def training_step(self, batch: PoseBatch, batch_index: int) -> Tensor:
        """The loss of all crops of one batch."""
        # Seeded by the place in the run, not by torch's generator: a resumed run goes on with the same numbers.
        place = (self.settings.seed, self.current_epoch, batch_index, self.global_rank)
        rngs = [np.random.default_rng((*place, frame)) for frame in range(len(batch))]
        return self._training_loss(self.training_crops(batch, rngs, np.random.default_rng(place)))

    def validation_step(self, batch: PoseBatch, batch_index: int) -> None:
        """Keep the losses and predictions of all crops of one batch for the epoch's figures.

        Conditions come from the same source as in training, those of a frame the same in every epoch.
        """
        rngs = [rng_for_frame(key, self.settings.seed) for key in batch.keys]
        self._validate_crops(batch, self.training_crops(batch, rngs))

    # ------------------------------------------------------------------------------------------- from frames to crops

    def training_crops(
        self, batch: PoseBatch, rngs: Sequence[np.random.Generator], jitter: np.random.Generator | None = None
    ) -> ConditionalCrops:
        """The crops around a labeled batch's conditions, labeled with the animals these belong to.

        rngs: of each frame's conditions. jitter: of the boxes, None to leave them as they are.
        """
        with torch.no_grad():  # the model of the conditions is not trained
            conditions = self.condition.conditions(batch, self.detector.detect_poses, rngs)
        boxes = self._boxes(conditions.keypoints_in_frame, batch)
        has_box = ~boxes.isnan().any(dim=-1)
        conditions, boxes = PoseConditions(*(each[has_box] for each in conditions)), boxes[has_box]
        if jitter is not None:
            boxes = self.settings.jitter(boxes, jitter)
        counts = conditions.frame_indices.bincount(minlength=len(batch)).tolist()
        crops = self._crops_around(batch, torch.split(boxes, counts), conditions.keypoints_in_frame)
        return crops.with_labels(batch, conditions.animal_indices)

    def _crops_around(
        self, batch: PoseBatch, boxes_in_frame: Sequence[Tensor], conditions_in_frame: Tensor
    ) -> ConditionalCrops:
        crops = self.crops(batch, boxes_in_frame)
        conditions_in_crop = apply_affine(crops.frame_to_crop, conditions_in_frame)
        return ConditionalCrops(**vars(crops), conditions_in_crop=conditions_in_crop)

    def _usable(self, conditions: PoseInstances, batch: PoseBatch) -> tuple[Tensor, Tensor]:
        """Places (M,) of the conditions that score high enough and lie in the frame, and the boxes around them (M, 4)."""
        boxes = self._boxes(conditions.keypoints_in_crop, batch)
        is_usable = (conditions.scores >= self.settings.threshold) & ~boxes.isnan().any(dim=-1)
        indices = is_usable.nonzero()[:, 0]
        return indices, boxes[indices]

    def _boxes(self, keypoints_in_frame: Tensor, batch: PoseBatch) -> Tensor:
        """The box around each pose, clipped to the frame: (M, K, 2) -> (M, 4), NaN where nothing of it is in the frame."""
        unknown = keypoints_in_frame.new_full((len(keypoints_in_frame), 4), torch.nan)
        boxes = self.detector.box_rule(keypoints_in_frame, unknown)
        return clip_boxes(boxes, (batch.images.shape[-2], batch.images.shape[-1]))

    def network_input(self, crops: AnimalCrops) -> PoseBatch:
        """The crops as the network takes them: images, and behind them the rendered conditions."""
        assert isinstance(crops, ConditionalCrops)
        batch = self.normalized(crops.batch)
        rendered = self.fusion.render(crops.conditions_in_crop, self.crop_size)
        return replace(batch, images=torch.cat((batch.images, rendered.to(batch.images)), dim=1))


def _check_detector(detector: Detector, condition: ConditionSource) -> None:
    if not detector.finds_poses:
        raise ConfigError(
            f"detector: ConditionalTopDown is conditioned on poses, {type(detector).__name__} finds boxes alone. Take "
            "detector=pose_boxes with detector.checkpoint= or detector.predictions=, or detector=perturbed_pose_boxes."
        )
    if condition.needs_poses and detector.needs_labels:
        raise ConfigError(
            f"condition: {type(condition).__name__} takes its conditions from predicted poses, {type(detector).__name__} "
            "predicts none. Take detector=pose_boxes with detector.checkpoint= or detector.predictions=, or "
            "condition=generated."
        )
