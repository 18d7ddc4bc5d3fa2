"""Predictions as COCO results, with a COCO file of the video's frames that they refer to."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dlcpose.codecs.coco import ground_truth, results
from dlcpose.exporters.coco import unique_results
from dlcpose.exporters.formats import TableTarget, provenance, table_format
from dlcpose.structures.atomic_files import atomic_output
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.sample import labels_of


@table_format("coco", suffix=".json", leaves_out=("boxes", "identities"), names_scorer=False)
def write_coco(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}.coco.json`, whose images are the frames, and `{video}.coco_results.json`, the animals in them.

    Image i + 1 is frame i, with its `time` in seconds. With tracks, an animal has its `individual` and a `track_id` from
    1, which COCO does not know. Unique keypoints, where there are any, go into `{video}.coco_unique.json`.
    """
    frames = [_frame(tracks, index, target.stem) for index in range(len(tracks))]
    images = ground_truth([labels for labels, _ in frames], tracks.skeleton)
    images["info"] = {"description": f"Predicted poses of {Path(tracks.video.path).name}", **provenance(tracks)}
    for image, time in zip(images["images"], tracks.times, strict=True):
        image["time"] = None if np.isnan(time) else float(time)
    image_ids = {image["file_name"]: image["id"] for image in images["images"]}
    predictions = [prediction for _, prediction in frames]
    animals = results(predictions, image_ids)
    if tracks.is_tracked:
        columns = np.argwhere(tracks.is_present)[:, 1]  # of each animal, in the order of the results
        for animal, column in zip(animals, columns.tolist(), strict=True):
            animal |= {"individual": tracks.individuals[column], "track_id": column + 1}
    contents: dict[str, Any] = {".coco.json": images, ".coco_results.json": animals}
    if tracks.skeleton.unique:
        contents[".coco_unique.json"] = unique_results(predictions, image_ids)
    return [_write(target.path(ending), content) for ending, content in contents.items()]


def _frame(tracks: PoseTracks, index: int, stem: str) -> tuple[Any, PosePrediction]:
    """A frame without labels, and its prediction."""
    video, digits = tracks.video, max(4, len(str(len(tracks))))
    key = f"{stem}/img{index:0{digits}d}.png"  # as DeepLabCut calls the frames it takes out of a video
    none = np.zeros((0, len(tracks.skeleton), 2), np.float32)
    labels = labels_of(key, (video.height, video.width), none, video=video.path, frame_index=index)
    return labels, PosePrediction(
        key=key,
        keypoints_in_image=tracks.keypoints_in_image[index],
        keypoint_scores=tracks.keypoint_scores[index],
        scores=tracks.scores[index],
        identities=tracks.identities[index],
        unique_in_image=tracks.unique_in_image[index],
        unique_scores=tracks.unique_scores[index],
        boxes_in_image=tracks.boxes_in_image[index],
    )


def _write(path: Path, content: Any) -> Path:
    with atomic_output(path) as partial:
        partial.write_text(json.dumps(content), encoding="utf-8")
    return path
