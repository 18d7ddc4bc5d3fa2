"""Labels and predictions as COCO ground truth and results."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dlcpose.codecs.coco import ground_truth, plain, results, triplets
from dlcpose.datasets.base import IDENTITY_FLAG, OWN, LabeledFrames
from dlcpose.exporters.image_files import PNG, by_video, png_names, write_image
from dlcpose.exporters.label_contents import (
    AREAS,
    BOXES,
    EDGES,
    EMPTY,
    HIDDEN,
    IDENTITIES,
    IGNORED,
    INDIVIDUALS,
    LOOSE,
    MIXED,
    NAMES,
    ONLY_BOXES,
    PAIRS,
    PCUTOFF,
    SEVERAL,
    SIGMAS,
    UNIQUE,
    UNTRACKED,
    is_unlabeled,
)
from dlcpose.exporters.label_formats import label_format
from dlcpose.structures.atomic_files import atomic_folder
from dlcpose.structures.instances import PosePrediction


def coco_labels(data: LabeledFrames, indices: Sequence[int]) -> dict[str, Any]:
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


ANNOTATIONS = "annotations.json"
HOLDS = frozenset(
    {SEVERAL, HIDDEN, ONLY_BOXES, BOXES, AREAS, IGNORED, UNIQUE, EMPTY, EDGES, PAIRS, SIGMAS, INDIVIDUALS, IDENTITIES}
    | {LOOSE, MIXED, NAMES, PCUTOFF, UNTRACKED}
)


@label_format("coco", holds=HOLDS, entries=(ANNOTATIONS,))
def write_coco_dataset(data: LabeledFrames, folder: Path, *, fps: float | None = None) -> None:
    """Write images/VIDEO/NAME and annotations.json, whose `file_name` starts from the folder.

    Unlabeled frames are left out, as COCO would take them for frames without animals. `info` says whether an individual
    is the same animal in all frames and, under `dlcpose`, the project's `pcutoff`. fps: COCO has no place for it. Raises
    DataError when the folder is there and not empty.
    """
    kept = [index for index, frame in enumerate(data.frames) if data.empty_is_label or not is_unlabeled(frame)]
    labels = ground_truth([data.frames[index] for index in kept], data.skeleton, data.individuals, exact=True)
    own = {} if data.pcutoff is None else {OWN: {"pcutoff": data.pcutoff}}
    labels = {"info": {IDENTITY_FLAG: data.has_identities, **own}, **labels}
    places, names = {data.frames[index].key: index for index in kept}, _file_names(data, kept)
    with atomic_folder(folder) as partial:
        for image in labels["images"]:
            index = places[image["file_name"]]
            image["file_name"] = names[index]
            path = partial / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(data, index, path)
        (partial / ANNOTATIONS).write_text(json.dumps(labels), encoding="utf-8")


def _file_names(data: LabeledFrames, indices: Sequence[int]) -> dict[int, str]:
    """The file names of frames: their own paths where they are image files below one folder, else by video and number."""
    own = {index: _own_path(data, index) for index in indices}
    if all(own.values()) and len({path.lower() for path in own.values()}) == len(own):
        return own
    names = {}
    for folder, of_video in by_video([data.frames[index] for index in indices]).items():
        frames = [data.frames[indices[place]] for place in of_video]
        for place, name in zip(of_video, png_names(frames), strict=True):
            names[indices[place]] = f"images/{folder}/{name}"
    return names


def _own_path(data: LabeledFrames, index: int) -> str:
    """The path of a frame's image below its data's folder, "" where it has none that can be taken over."""
    key = PurePosixPath(data.frames[index].key.replace("labeled-data/", "images/", 1))
    own = data.image_file(index)
    is_kept = key.suffix.lower() == PNG if own is None else key.suffix.lower() == own.suffix.lower() != ""
    return str(key) if is_kept and not key.is_absolute() and ".." not in key.parts and ":" not in str(key) else ""
