"""Box AP and AR: average precision and recall of detections over IoU, by pycocotools."""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from dlcpose.codecs.boxes import boxes_around_points, clip_boxes, expand_boxes
from dlcpose.metrics.base import EvaluatedFrames, Metric
from dlcpose.metrics.figure_info import FigureInfo
from dlcpose.structures.sample import FrameLabels

Array = npt.NDArray[Any]
MAX_DETECTIONS = 100  # boxes of an image that COCO counts, by falling score


@dataclass(frozen=True)
class BoxAveragePrecision(Metric):
    """`box_ap`, `box_ap50`, `box_ar` in [0, 1], over all sizes, of animals' boxes with the animals' scores.

    boxes: the rule that the detector was trained by, from labeled keypoints (..., K, 2) and the data's boxes (..., 4)
    to ground-truth boxes; None takes the data's own, and those around the keypoints where it has none. Ground-truth
    boxes are clipped to the image; detections in boxes of crowds count neither as true nor as false positives.
    """

    figures: ClassVar[Mapping[str, FigureInfo]] = {
        "box_ap": FigureInfo(
            "box AP",
            higher_is_better=True,
            note="average precision of boxes over IoU 0.50 to 0.95, by pycocotools",
            headline=True,
            curve="average precision of boxes",
        ),
        "box_ap50": FigureInfo(
            "box AP50",
            higher_is_better=True,
            note="average precision of boxes at IoU 0.50",
            curve="average precision of boxes",
        ),
        "box_ar": FigureInfo("box AR", higher_is_better=True, note="average recall of boxes over IoU 0.50 to 0.95"),
    }

    boxes: Callable[[Tensor, Tensor], Tensor] | None = None

    def __call__(self, frames: EvaluatedFrames) -> dict[str, float]:
        """The figures, NaN where nothing is labeled, or where none of the predicted animals has a box."""
        has_box = [np.asarray(~np.isnan(each.boxes_in_image).any(axis=-1)) for each in frames.predictions]
        if any(len(each) for each in has_box) and not any(each.any() for each in has_box):
            return dict.fromkeys(self.figures, float("nan"))
        detections = [
            (each.boxes_in_image[kept], each.scores[kept])
            for each, kept in zip(frames.predictions, has_box, strict=True)
        ]
        gts = [self._gt_boxes(frame) for frame in frames.labels]
        return box_average_precision(gts, [frame.ignored_in_image for frame in frames.labels], detections)

    def _gt_boxes(self, frame: FrameLabels) -> Array:
        """(N, 4), of the animals of which a box is known."""
        is_labeled = (frame.visibility > 0)[..., None]
        keypoints = torch.from_numpy(np.where(is_labeled, frame.keypoints_in_image, np.float32(np.nan)))
        rule = self.boxes or _stored_else_around
        boxes = clip_boxes(rule(keypoints, torch.from_numpy(frame.boxes_in_image)), (frame.height, frame.width)).numpy()
        known: Array = boxes[~np.isnan(boxes).any(axis=-1)]
        return known


def box_average_precision(
    gts: Sequence[Array], crowds: Sequence[Array], detections: Sequence[tuple[Array, Array]]
) -> dict[str, float]:
    """COCO's AP, AP50 and AR of boxes x1 y1 x2 y2: gts[i] (N, 4), crowds[i] (R, 4), detections[i] (M, 4), scores (M,)."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (boxes, ignored, (detected, scores)) in enumerate(zip(gts, crowds, detections, strict=True), start=1):
        for box, is_crowd in [*((box, 0) for box in boxes), *((box, 1) for box in ignored)]:
            annotations.append(_annotation(len(annotations) + 1, image, box, iscrowd=is_crowd))
        for box, score in zip(detected, scores, strict=True):
            results.append(_annotation(len(results) + 1, image, box, iscrowd=0, score=float(score)))
    images = [{"id": image} for image in range(1, len(gts) + 1)]
    # pycocotools prints.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(images, annotations), _coco(images, results), "bbox")
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # (thresholds 0.5, 0.55, ... 0.95, recalls, 1, 1, 1), -1 where undefined
    return {
        "box_ap": _mean(precision),
        "box_ap50": _mean(precision[0]),
        "box_ar": _mean(evaluation.eval["recall"]),
    }


def _stored_else_around(keypoints: Tensor, boxes: Tensor) -> Tensor:
    return boxes.where(~boxes.isnan(), expand_boxes(boxes_around_points(keypoints), 0.0, min_size=1.0))


def _annotation(number: int, image: int, box: Array, **more: Any) -> dict[str, Any]:
    left, top, right, bottom = (float(side) for side in box)
    size = {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
    return {"id": number, "image_id": image, "category_id": 1, **size, **more}


def _coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "animal"}]}
    coco.createIndex()
    return coco


def _mean(values: Any) -> float:
    return float(np.mean(values)) if np.size(values) and np.all(values > -1) else float("nan")
