"""Pose models that run as graphs, without the parts they were trained as."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dlcpose.codecs.peaks import into_shown
from dlcpose.detectors.base import Boxes, BoxRule, detect_by_size
from dlcpose.pipelines.animal_crops import CROPS_PER_PASS, AnimalCrops, cut_crops
from dlcpose.pipelines.crop_poses import animals_in_frames, nms_predictions, sure_boxes
from dlcpose.pipelines.finite_values import check_outputs
from dlcpose.pipelines.predictions import predictions_in_image
from dlcpose.prediction.graph_description import CropsOfGraph, GraphDescription
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import CheckpointError, InputError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PoseInstances, PosePrediction
from dlcpose.structures.skeleton import Skeleton


class Graph(Protocol):
    """A graph of tensors. size: (height, width) of its images, None where it takes any."""

    size: tuple[int, int] | None

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs by name for images (B, 3, H, W), which are 0 to 255."""


@dataclass(frozen=True)
class GraphModel:
    """A model of whole images as a graph. path: the file it came from."""

    description: GraphDescription
    graph: Graph
    path: Path

    needs_labels = False
    conditional = None
    estimator = None

    @property
    def skeleton(self) -> Skeleton:
        """Names and order of the keypoints."""
        return self.description.skeleton

    @property
    def individuals(self) -> tuple[str, ...]:
        """Names of the animals, as its data had them."""
        return self.description.individuals

    @property
    def frame_input(self) -> Input:
        """The input that whole frames are brought to."""
        return self.description.model_input

    @property
    def finds_one_animal(self) -> bool:
        """Whether it finds one animal in a frame, always the same."""
        return self.description.finds_one_animal

    @property
    def finds_unique(self) -> bool:
        """Whether it looks for the skeleton's unique keypoints."""
        return self.description.finds_unique

    @property
    def fixed_precision(self) -> str | None:
        """The precision that it was exported in."""
        return self.description.precision

    @property
    def box_rule(self) -> BoxRule | None:
        """None: it predicts whole images."""
        return None

    def oracles(self) -> dict[str, Callable[[PoseBatch], list[PosePrediction]]]:
        """None: no component can be replaced by ground truth."""
        return {}

    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """The animals in each of a batch's uint8 images, in pixels of the source image."""
        return self.decode_maps(batch, self.compute_maps(batch))

    def compute_maps(self, batch: PoseBatch) -> Any:
        """The graph's outputs. Raises InputError for images of another size than it was exported for."""
        return self._run(batch.images)

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        """The animals of the outputs; a keypoint that is there whatever the image shows lies within what it shows."""
        return predictions_in_image(batch, self._within_shown(batch, self._animals(maps)))

    def _within_shown(self, batch: PoseBatch, animals: Sequence[PoseInstances]) -> list[PoseInstances]:
        """A graph knows of no padding and may have found its highest peaks there."""
        if set(batch.shown) <= {(batch.images.shape[-2], batch.images.shape[-1])}:
            return list(animals)
        moved = [
            replace(each, unique_in_crop=into_shown(each.unique_in_crop[None], [shown])[0])
            for each, shown in zip(animals, batch.shown, strict=True)
        ]
        if not self.finds_one_animal:
            return moved
        return [
            replace(each, keypoints_in_crop=into_shown(each.keypoints_in_crop, [shown]))
            for each, shown in zip(moved, batch.shown, strict=True)
        ]

    def _run(self, images: Tensor) -> dict[str, Tensor]:
        size = (images.shape[-2], images.shape[-1])
        if self.graph.size not in (None, size):
            raise InputError(
                f"{self.path}: expected images of {self.graph.size} (height, width), which it was exported for, got {size}."
            )
        return self.graph.run(images)

    def _animals(self, outputs: Mapping[str, Tensor]) -> list[PoseInstances]:
        animals: list[PoseInstances] = []
        check_outputs(outputs, str(self.path))
        try:
            for step in self.description.steps:
                animals = step(animals, outputs)
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise CheckpointError(f"{self.path}: its outputs are not those of its description ({reason}).") from error
        return animals


class GraphCropMaps(NamedTuple):
    """The graphs' outputs of a top-down model for a batch."""

    boxes: tuple[Boxes, ...]  # of each frame
    crops: AnimalCrops
    outputs: tuple[dict[str, Tensor], ...]  # of CROPS_PER_PASS crops each


@dataclass(frozen=True)
class GraphTopDown(GraphModel):
    """The prediction of `pipelines.top_down.TopDown` by two graphs: one detects boxes, the other predicts crops."""

    crops: CropsOfGraph
    detector: Graph

    @property
    def frame_input(self) -> Input:
        """Frames at their native size: crops are cut from all the pixels there are."""
        return self.description.model_input.at_native_size()

    @property
    def box_rule(self) -> BoxRule | None:
        """The rule that the detector was trained by."""
        return self.crops.box_rule

    def compute_maps(self, batch: PoseBatch, boxes: Sequence[Boxes] | None = None) -> Any:
        """The graph's outputs for all animals' crops. boxes: those of each frame, in place of the detector's."""
        settings, size = self.crops.settings, self.description.model_input.canvas
        assert size is not None  # checked where the description is read
        if boxes is None:
            boxes = sure_boxes(detect_by_size(batch, self._detect), settings.threshold)
        crops = cut_crops(batch, [each.boxes_in_frame for each in boxes], size, settings)
        parts = crops.split(CROPS_PER_PASS) if len(crops) else []
        return GraphCropMaps(tuple(boxes), crops, tuple(self._run(part.batch.images) for part in parts))

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        """The animals of all crops, after pose NMS."""
        boxes, crops, outputs = maps
        scores = torch.cat([each.scores for each in boxes])
        instances = [each for some in outputs for each in self._animals(some)]
        in_frame = animals_in_frames(instances, crops, scores, len(batch), len(self.skeleton))
        boxes_in_frame = [each.boxes_in_frame for each in boxes]
        nms_oks = self.crops.settings.nms_oks
        return nms_predictions(batch, in_frame, boxes_in_frame, self.skeleton.sigmas, nms_oks)[0]

    def _detect(self, frames: Tensor) -> list[Boxes]:
        images, scales = self.crops.detector.prepare(frames)
        outputs = self.detector.run(images)
        check_outputs(outputs, f"{self.path}: its detector")
        return self.crops.detector.boxes(outputs, scales)
