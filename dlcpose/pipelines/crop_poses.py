"""From the poses in the crops of single animals to the animals of each frame."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from dlcpose.codecs.affine import apply_affine
from dlcpose.codecs.oks import pairwise_oks, pose_nms
from dlcpose.detectors.base import Boxes
from dlcpose.pipelines.animal_crops import AnimalCrops
from dlcpose.pipelines.predictions import predictions_in_image
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances, PosePrediction


def sure_boxes(detected: Sequence[Boxes], threshold: float) -> list[Boxes]:
    """The boxes detected in each frame with a score of at least the threshold."""
    return [Boxes(boxes[scores >= threshold], scores[scores >= threshold]) for boxes, scores in detected]


def animals_in_frames(
    instances: Sequence[PoseInstances], crops: AnimalCrops, box_scores: Tensor, frames: int, keypoints: int
) -> list[PoseInstances]:
    """The animals of each of `frames` frames in its pixels, one for each crop, scored by the product of box and pose.

    instances: the animals that each crop shows, of which the one with the highest score counts. box_scores: (M,).
    """
    if not instances:
        return [PoseInstances.without_keypoints(box_scores[:0], keypoints)] * frames
    best = PoseInstances.concatenate([_best(each, keypoints) for each in instances])  # one for each crop
    animals = PoseInstances.from_keypoints(
        apply_affine(crops.crop_to_frame, best.keypoints_in_crop),
        best.keypoint_scores,
        best.scores * box_scores,
        identities=best.identities,
    )
    return [animals[crops.frame_indices == frame] for frame in range(frames)]


def nms_predictions(
    batch: PoseBatch,
    instances: Sequence[PoseInstances],
    boxes: Sequence[Tensor],
    sigmas: Sequence[float],
    nms_oks: float,
) -> tuple[list[PosePrediction], list[Tensor]]:
    """The predictions that pose NMS keeps, by descending score, and their places (M,) among each frame's instances."""
    kept = [_pose_nms(each, sigmas, nms_oks) for each in instances]
    predictions = predictions_in_image(
        batch,
        [_with_unique_identities(each[indices]) for each, indices in zip(instances, kept, strict=True)],
        [each[indices] for each, indices in zip(boxes, kept, strict=True)],
    )
    return predictions, kept


def _best(instances: PoseInstances, keypoints: int) -> PoseInstances:
    """The animal of a crop with the highest score; one without keypoints where the crop shows none."""
    if len(instances):
        return instances[instances.scores.argmax()[None]]
    return PoseInstances.without_keypoints(instances.scores.new_zeros(1), keypoints)


def _pose_nms(animals: PoseInstances, sigmas: Sequence[float], nms_oks: float) -> Tensor:
    """Places (M,) of the animals of a frame that OKS NMS keeps, by descending score; none without a keypoint."""
    similarity = pairwise_oks(animals.keypoints_in_crop, sigmas)
    kept = pose_nms(similarity, animals.scores, nms_oks)
    return kept[animals.has_keypoints[kept]]


def _with_unique_identities(animals: PoseInstances) -> PoseInstances:
    """Animals by descending score in which only the first of each individual keeps its identity."""
    identities: list[int] = []
    for identity in animals.identities.tolist():
        identities.append(-1 if identity in identities else identity)
    return replace(animals, identities=animals.identities.new_tensor(identities))
