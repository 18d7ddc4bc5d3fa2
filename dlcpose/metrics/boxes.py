"""Average precision of boxes, counted by pycocotools."""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from dlcpose.codecs.boxes import boxes_around_points, clip_boxes, expand_boxes
from dlcpose.metrics.base import check_frames
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]
MOST_FOUND = 100  # boxes of an image that COCO counts, the surest first


@dataclass(frozen=True)
class BoxAveragePrecision:
    """`box_ap`, `box_ap50`, `box_ar` in [0, 1], over all sizes, of animals' boxes by the animals' scores.

    boxes: from labelled keypoints (..., K, 2) and the data's boxes (..., 4) to the true ones, as the detector was
    trained by; None takes the data's own, and those around the keypoints where it has none. A true box is what of it
    lies in the image; the boxes of crowds neither count as found nor as invented.
    """

    boxes: Callable[[Tensor, Tensor], Tensor] | None = None

    def __call__(
        self, predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton
    ) -> dict[str, float]:
        """The figures, NaN where nothing is labelled, or where no detector spoke of the animals that were found."""
        check_frames(predictions, labels, skeleton)
        known = [np.asarray(~np.isnan(each.boxes_in_image).any(axis=-1)) for each in predictions]
        if any(len(each) for each in known) and not any(each.any() for each in known):
            return dict.fromkeys(("box_ap", "box_ap50", "box_ar"), float("nan"))
        found = [
            (each.boxes_in_image[is_known], each.scores[is_known])
            for each, is_known in zip(predictions, known, strict=True)
        ]
        gts = [self._true_boxes(frame) for frame in labels]
        return box_average_precision(gts, [frame.ignored_in_image for frame in labels], found)

    def _true_boxes(self, frame: FrameLabels) -> Array:
        """(N, 4), of the animals of which a box is known."""
        is_labelled = (frame.visibility > 0)[..., None]
        keypoints = torch.from_numpy(np.where(is_labelled, frame.keypoints_in_image, np.float32(np.nan)))
        rule = self.boxes or _stored_else_around
        boxes = clip_boxes(rule(keypoints, torch.from_numpy(frame.boxes_in_image)), (frame.height, frame.width)).numpy()
        known: Array = boxes[~np.isnan(boxes).any(axis=-1)]
        return known


def box_average_precision(
    gts: Sequence[Array], crowds: Sequence[Array], found: Sequence[tuple[Array, Array]]
) -> dict[str, float]:
    """COCO's figures of boxes x1 y1 x2 y2: truths[i] (N, 4), crowds[i] (R, 4), found[i] (M, 4) and scores (M,)."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (boxes, ignored, (guesses, scores)) in enumerate(zip(gts, crowds, found, strict=True), start=1):
        for box, is_crowd in [*((box, 0) for box in boxes), *((box, 1) for box in ignored)]:
            annotations.append(_annotation(len(annotations) + 1, image, box, iscrowd=is_crowd))
        for box, score in zip(guesses, scores, strict=True):
            results.append(_annotation(len(results) + 1, image, box, iscrowd=0, score=float(score)))
    images = [{"id": image} for image in range(1, len(gts) + 1)]
    # pycocotools prints.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(images, annotations), _coco(images, results), "bbox")
        evaluation.params.maxDets = [MOST_FOUND]
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
