"""Labels and predictions as COCO files: what other tools open, and what anyone can score again."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlcpose.codecs.coco import ground_truth, plain, results, triplets
from dlcpose.datasets.base import LabelledFrames
from dlcpose.structures.instances import PosePrediction


def coco_labels(data: LabelledFrames, indices: Sequence[int]) -> dict[str, Any]:
    """The labels of some frames as a COCO ground truth, with each image's key as `file_name`.

    Images are numbered from 1 by the order of their keys. Coordinates are as they are, missing keypoints 0, 0, 0.
    Extra fields (sigmas, pairs, points of the arena, video and frame) are described at `codecs.coco.ground_truth`.
    """
    return ground_truth([data.frames[index] for index in indices], data.skeleton, data.individuals)


def image_ids(labels: Mapping[str, Any]) -> dict[str, int]:
    """The number of each image of a COCO ground truth, by its key."""
    return {image["file_name"]: image["id"] for image in labels["images"]}


def coco_results(predictions: Sequence[PosePrediction], image_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """Predictions as COCO results: one entry for each animal found, its keypoints' scores in `keypoint_scores`.

    Raises KeyError when a prediction's frame is not among `image_ids`.
    """
    return results(predictions, image_ids)


def arena_results(predictions: Iterable[PosePrediction], image_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """The points of the arena that were found, one entry for each image; COCO has no place for them."""
    return [
        {
            "image_id": image_ids[each.key],
            "unique_keypoints": triplets(each.unique_in_image, [2] * len(each.unique_in_image)),
            "unique_keypoint_scores": [plain(score) for score in each.unique_scores],
        }
        for each in predictions
        if len(each.unique_in_image)
    ]
