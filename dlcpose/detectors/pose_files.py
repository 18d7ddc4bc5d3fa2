"""Read files of predicted poses: COCO results as an evaluation writes them, or DeepLabCut's poses by image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.structures.checked_arrays import check_places, holds_text
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import read_json
from dlcpose.structures.errors import DataError
from dlcpose.structures.skeleton import Skeleton

MAX_BYTES = 2**29
MADE_BY = "dlcpose"  # entry of a mapping that is no image: what the poses were made by
Poses = npt.NDArray[np.float64]  # (M, K, 3) x, y in the image's pixels and score; x and y NaN where not detected


@dataclass(frozen=True)
class StoredPoses:
    """The content of a file: the predicted poses of each frame, by name."""

    path: Path
    poses: Mapping[str, Poses]

    def poses_of(self, key: str) -> Poses:
        """The poses of a frame, by its name; leading folders may be missing on either side.

        Raises DataError where no frame has that name, or several could be meant. A frame without detections is in the
        file, with no poses.
        """
        if key in self.poses:
            return self.poses[key]
        alike = [name for name in self.poses if name.endswith(f"/{key}") or key.endswith(f"/{name}")]
        if len(alike) == 1:
            return self.poses[alike[0]]
        what = f"{counted(len(alike), 'frame')} could be meant" if alike else "that frame is not in it"
        known = ", ".join(sorted(self.poses)[:2]) or "none"
        raise DataError(
            f"{self.path}: expected the poses of {key}, but {what} (it has {len(self.poses)}, such as {known}). "
            "Predict all frames with the model behind the conditions, or give its checkpoint as detector.checkpoint=."
        )


def read_poses(path: Path, skeleton: Skeleton) -> StoredPoses:
    """Poses by frame: a json list of COCO results, with `labels.json` beside it; or a json mapping from each image's
    name to its poses, each a list of [x, y, score].

    Raises DataError for a file that is neither, or has other keypoints.
    """
    content = _read_json(path)
    if isinstance(content, list):
        return StoredPoses(path, _of_results(path, content, skeleton))
    if isinstance(content, dict):
        poses = {str(key): _poses(path, str(key), each, skeleton) for key, each in content.items() if key != MADE_BY}
        return StoredPoses(path, poses)
    raise DataError(
        f"{path}: expected COCO results (a list) or poses by image (a mapping), got {type(content).__name__}."
    )


def _of_results(path: Path, results: Sequence[Any], skeleton: Skeleton) -> dict[str, Poses]:
    labels_path = path.with_name("labels.json")
    labels = _read_json(labels_path) if labels_path.exists() else None
    if not isinstance(labels, dict) or not isinstance(labels.get("images"), list):
        raise DataError(
            f"{path}: COCO results name frames by number. Put the ground truth that has their names beside it as "
            "labels.json, as an evaluation does, or give a mapping from names to poses."
        )
    names = _names_in(labels)
    if names and names != list(skeleton.names):
        raise DataError(
            f"{path}: the poses are of the keypoints {', '.join(names)}, the model's are {', '.join(skeleton.names)}. "
            "Give predictions of a model of the same keypoints in the same order."
        )
    try:
        keys: dict[Any, str] = {image["id"]: str(image["file_name"]) for image in labels["images"]}
        poses: dict[str, list[Any]] = {key: [] for key in keys.values()}
        if len(poses) < len(labels["images"]):  # one would get the poses of the other
            raise ValueError("two images have one id, or one file_name")
        for entry in results:
            triplets = _numbers(entry["keypoints"]).reshape(-1, 3)
            scores = _numbers(entry.get("keypoint_scores") or [entry["score"]] * len(triplets))
            pose = [
                [x, y, score] if v > 0 else [None, None, 0.0] for (x, y, v), score in zip(triplets, scores, strict=True)
            ]
            poses[keys[entry["image_id"]]].append(pose)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{path}: expected COCO keypoint results of the images in labels.json beside it; "
            f"{type(error).__name__}: {error}. Take both files from one evaluation."
        ) from error
    return {key: _poses(path, key, each, skeleton) for key, each in poses.items()}


def _names_in(labels: Mapping[str, Any]) -> list[str]:
    try:
        return [str(name) for name in (labels.get("categories") or [{}])[0].get("keypoints") or []]
    except (KeyError, TypeError, AttributeError):
        return []


def _poses(path: Path, key: str, poses: Any, skeleton: Skeleton) -> Poses:
    try:
        stored = _numbers(poses)
        stored = stored.reshape(0, len(skeleton), 3) if not stored.size else stored
        if stored.ndim != 3 or stored.shape[1:] != (len(skeleton), 3):
            raise ValueError(f"got {stored.shape}")
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{path}: {key}: expected poses of {len(skeleton)} keypoints with x, y and score each "
            f"({', '.join(skeleton.names)}); {error}."
        ) from error
    is_missing = ~np.isfinite(stored).all(axis=-1) | (stored[..., 2] <= 0)
    stored[is_missing] = (np.nan, np.nan, 0.0)
    check_places(stored[..., :2], f"{path}: {key}")
    stored[..., 2] = stored[..., 2].clip(0, 1)
    return stored


def _numbers(values: Any) -> Poses:
    """Lists of numbers as an array, null as NaN. Raises ValueError for texts and booleans, which NumPy would convert."""
    numbers = np.array(values, np.float64)  # first, since it bounds how deep lists lie in lists
    if holds_text(values):
        raise ValueError("expected numbers, got a text, true or false among them")
    return numbers


def _read_json(path: Path) -> Any:
    try:
        return read_json(path, max_bytes=MAX_BYTES)
    except DataError as error:
        raise DataError(
            f"{error} Give the file of predictions as detector.predictions=, or a checkpoint as detector.checkpoint=."
        ) from error
