"""Conditional top-down models (BUCTD) with DeepLabCut 3's boxes, crops and scores."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dlcpose.pipelines.animal_crops import AnimalCrops
from dlcpose.pipelines.conditional_top_down import ConditionalMaps, ConditionalTopDown
from dlcpose.pipelines.deeplabcut_top_down import DeepLabCutTopDown
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances

MIN_SCORE = 0.2  # of keypoints that count in an animal's score
MIN_AREA = 1.0  # px² of a box


class DeepLabCutConditionalTopDown(DeepLabCutTopDown, ConditionalTopDown):
    """Crops around another model's poses, as DeepLabCut 3: whole pixels, resized by OpenCV, black beside the box.

    margin: around the box, px. with_context: as in `codecs.deeplabcut_crops.region_around`. threshold: minimum of a
    condition's highest keypoint score. shift, scale, seed: of the training boxes' jitter, as in CropSettings. All keypoints
    of an animal have one score: the condition's mean score, times the mean of the keypoint scores above a minimum.
    """

    def _conditional_maps(self, batch: PoseBatch, conditions: Sequence[PoseInstances]) -> ConditionalMaps:
        """As ConditionalTopDown, with the mean of a condition's keypoint scores as its score."""
        scored = [
            replace(
                each,
                scores=each.keypoint_scores.mean(dim=-1),
                keypoints_in_crop=each.keypoints_in_crop.masked_fill((each.keypoint_scores <= 0)[..., None], torch.nan),
            )
            for each in conditions
        ]
        return super()._conditional_maps(batch, scored)

    def _usable(self, conditions: PoseInstances, batch: PoseBatch) -> tuple[Tensor, Tensor]:
        """Places (M,) of the conditions with a keypoint that scores high enough, and the boxes around them (M, 4)."""
        boxes = self._boxes(conditions.keypoints_in_crop, batch)
        sides = boxes[:, 2:] - boxes[:, :2]
        highest = conditions.keypoint_scores.amax(dim=-1) if len(conditions) else conditions.scores
        is_usable = (highest >= self.settings.threshold) & (sides.prod(dim=-1) >= MIN_AREA)  # False for NaN
        indices = is_usable.nonzero()[:, 0]
        return indices, boxes[indices]

    def _boxes(self, keypoints_in_frame: Tensor, batch: PoseBatch) -> Tensor:
        """The box around each pose, cut at the frame's sides as DeepLabCut counts them: (M, K, 2) -> (M, 4)."""
        unknown = keypoints_in_frame.new_full((len(keypoints_in_frame), 4), torch.nan)
        boxes: Tensor = self.detector.box_rule(keypoints_in_frame, unknown)
        height, width = batch.images.shape[-2:]
        return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))

    def _instances_in_frame(
        self, instances: Sequence[PoseInstances], crops: AnimalCrops, box_scores: Tensor, frames: int
    ) -> list[PoseInstances]:
        """As TopDown, with one score for all keypoints of an animal."""
        rescored = []
        for each, condition_score in zip(instances, box_scores, strict=True):
            counts = each.keypoint_scores >= MIN_SCORE  # (1, K)
            sums = (each.keypoint_scores * counts).sum(dim=-1)
            score = condition_score * sums / counts.sum(dim=-1).clamp(min=1)  # (1,)
            rescored.append(replace(each, keypoint_scores=score[:, None].expand_as(each.keypoint_scores), scores=score))
        return super()._instances_in_frame(rescored, crops, torch.ones_like(box_scores), frames)
