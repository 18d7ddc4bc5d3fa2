"""Labels and predictions as COCO keypoint annotations and results, with coordinates unchanged."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.oks import oks_areas
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels, boxes_around
from dlcpose.structures.skeleton import Skeleton

CATEGORY = 1


def ground_truth(
    frames: Sequence[FrameLabels], skeleton: Skeleton, individuals: Sequence[str] = (), *, exact: bool = False
) -> dict[str, Any]:
    """COCO ground truth of frames: images numbered from 1 in the order of their names, annotations, and the category.

    exact: write coordinates with all the digits of the file that they were read from; False: those that models see.

    Beyond COCO: an image's `video`, `frame_index` and `unique_keypoints`, an animal's `individual`, the category's
    `sigmas`, `pairs`, `unique` and `unique_pairs`. An animal without labels and without a box is left out.
    The order of `frames` does not matter: equal scores are counted in the same order by every evaluation.
    """
    in_order = sorted(frames, key=lambda frame: frame.key)
    annotations: list[dict[str, Any]] = []
    for image_id, frame in enumerate(in_order, start=1):
        for annotation in (*_animals(frame, individuals, exact=exact), *_crowds(frame, len(skeleton))):
            place = {"id": len(annotations) + 1, "image_id": image_id, "category_id": CATEGORY}
            annotations.append({**place, **annotation})
    return {
        "images": [_image(image_id, frame, exact=exact) for image_id, frame in enumerate(in_order, start=1)],
        "annotations": annotations,
        "categories": [_category(skeleton)],
    }


def results(predictions: Iterable[PosePrediction], image_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """Predictions as COCO results, one entry per animal.

    Every third value is 2 for a predicted keypoint; a missing one is 0, 0, 0 and is scored as if it lay at the image's
    corner, as COCO does. The keypoints' own scores are in `keypoint_scores`, apart from the animal's `score`.
    Raises KeyError when a prediction's frame is not among `image_ids`.
    """
    entries = []
    for prediction in predictions:
        image_id = image_ids[prediction.key]
        present = np.asarray(~np.isnan(prediction.keypoints_in_image).any(axis=-1))  # (M, K)
        for i in np.flatnonzero(present.any(axis=-1)):
            entries.append(
                {
                    "image_id": image_id,
                    "category_id": CATEGORY,
                    "keypoints": triplets(prediction.keypoints_in_image[i], 2 * present[i]),
                    "score": plain(prediction.scores[i]),
                    "keypoint_scores": [plain(score) for score in prediction.keypoint_scores[i]],
                }
            )
    return entries


def triplets(keypoints_in_image: npt.NDArray[Any], visibility: Iterable[Any]) -> list[float | int]:
    """x, y, v of each keypoint in one list, 0, 0, 0 where missing: (K, 2), (K,) -> 3K."""
    flat: list[float | int] = []
    for (x, y), v in zip(keypoints_in_image, visibility, strict=True):
        missing = v == 0 or np.isnan(x) or np.isnan(y)
        flat += [0, 0, 0] if missing else [_coordinate(x), _coordinate(y), int(v)]
    return flat


def plain(value: Any) -> float | None:
    """A number for JSON, with no more digits than its float32 has; None for NaN."""
    return None if np.isnan(value) else _short(value)


def _coordinate(value: Any) -> float:
    return float(value) if isinstance(value, np.float64) else _short(value)


def _short(value: Any) -> float:
    return float(str(np.float32(value)))


def _image(image_id: int, frame: FrameLabels, *, exact: bool) -> dict[str, Any]:
    image: dict[str, Any] = {
        "id": image_id,
        "file_name": frame.key,
        "width": frame.width,
        "height": frame.height,
        "video": frame.video,
        "frame_index": frame.frame_index,
    }
    if len(frame.unique_in_image):
        points = frame.exact_unique if exact else frame.unique_in_image
        image["unique_keypoints"] = triplets(points, [2] * len(points))
    return image


def _animals(frame: FrameLabels, individuals: Sequence[str], *, exact: bool) -> Iterable[dict[str, Any]]:
    labeled = (frame.visibility > 0) & ~np.isnan(frame.keypoints_in_image).any(axis=-1)  # (N, K)
    points = np.where(labeled[..., None], frame.keypoints_in_image, np.nan)
    written = frame.exact_keypoints if exact else points
    stored = ~np.isnan(frame.boxes_in_image).any(axis=-1, keepdims=True)  # (N, 1)
    boxes = np.where(stored, frame.boxes_in_image, boxes_around(points))
    # An animal with a box and no labels is an ignored region, whose area in COCO is that of the box.
    box_areas = np.where(labeled.any(axis=-1), np.nan, (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1))
    areas = oks_areas(np.where(np.isnan(frame.areas), box_areas, frame.areas), points)
    for i in np.flatnonzero(~np.isnan(boxes).any(axis=-1)):
        identity = int(frame.identities[i])
        yield {
            "keypoints": triplets(written[i], frame.visibility[i]),
            "num_keypoints": int(labeled[i].sum()),
            "bbox": _corner_and_size(boxes[i]),
            "area": plain(areas[i]),
            "iscrowd": 0,
            "individual": individuals[identity] if 0 <= identity < len(individuals) else None,
        }


def _crowds(frame: FrameLabels, keypoints: int) -> Iterable[dict[str, Any]]:
    for box in frame.ignored_in_image:
        left, top, width, height = _corner_and_size(box)
        yield {
            "keypoints": [0, 0, 0] * keypoints,
            "num_keypoints": 0,
            "bbox": [left, top, width, height],
            "area": max(width * height, 1.0),
            "iscrowd": 1,
            "individual": None,
        }


def _category(skeleton: Skeleton) -> dict[str, Any]:
    content = skeleton.as_dict()
    return {
        "id": CATEGORY,
        "name": "animal",
        "keypoints": content["names"],
        "skeleton": [[first + 1, second + 1] for first, second in skeleton.edges],  # COCO counts from 1
        "sigmas": content["sigmas"],
        "pairs": content["pairs"],
        "unique": content["unique"],
        "unique_pairs": content["unique_pairs"],
    }


def _corner_and_size(box: npt.NDArray[Any]) -> list[float]:
    left, top, right, bottom = (float(side) for side in box)
    return [_short(value) for value in (left, top, right - left, bottom - top)]
