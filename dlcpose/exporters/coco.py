"""Labels and predictions as COCO ground truth and results."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from dlcpose.codecs.coco import ground_truth, plain, results, triplets
from dlcpose.datasets.base import LabelledFrames
from dlcpose.exporters.label_formats import label_format
from dlcpose.structures.atomic_files import atomic_folder
from dlcpose.structures.instances import PosePrediction


def coco_labels(data: LabelledFrames, indices: Sequence[int]) -> dict[str, Any]:
    """The labels of some frames as a COCO ground truth, with each image's key as `file_name`.

    Images are numbered from 1 by the order of their keys. Coordinates are as they are, missing keypoints 0, 0, 0.
    Extra fields (sigmas, pairs, unique keypoints, video and frame) are described at `codecs.coco.ground_truth`.
    """
    return ground_truth([data.frames[index] for index in indices], data.skeleton, data.individuals)


def image_ids(labels: Mapping[str, Any]) -> dict[str, int]:
    """The number of each image of a COCO ground truth, by its key."""
    return {image["file_name"]: image["id"] for image in labels["images"]}


def coco_results(predictions: Sequence[PosePrediction], image_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """Predictions as COCO results: one entry for each predicted animal, with the scores of its keypoints beside `score`.

    Raises KeyError when a prediction's frame is not among `image_ids`.
    """
    return results(predictions, image_ids)


def unique_results(predictions: Iterable[PosePrediction], image_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """Predicted unique keypoints, one entry for each image; COCO has no place for them."""
    return [
        {
            "image_id": image_ids[each.key],
            "unique_keypoints": triplets(each.unique_in_image, [2] * len(each.unique_in_image)),
            "unique_keypoint_scores": [plain(score) for score in each.unique_scores],
        }
        for each in predictions
        if len(each.unique_in_image)
    ]


@label_format("coco")
def write_coco_dataset(data: LabelledFrames, folder: Path, *, fps: float = 25) -> None:
    """Write images/VIDEO/NAME.png and annotations.json, whose `file_name` starts from the folder.

    fps: COCO has no place for it. Raises DataError when the folder is there and not empty.
    """
    labels = coco_labels(data, range(len(data)))
    places = {frame.key: index for index, frame in enumerate(data.frames)}
    with atomic_folder(folder) as partial:
        for image in labels["images"]:
            index = places[image["file_name"]]
            image["file_name"] = image["file_name"].replace("labeled-data/", "images/", 1)
            path = partial / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imencode(".png", data.read_image(index)[..., ::-1])[1].tofile(path)
        (partial / "annotations.json").write_text(json.dumps(labels), encoding="utf-8")
