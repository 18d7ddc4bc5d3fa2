"""OKS AP and AR: average precision and recall over object keypoint similarity, by pycocotools."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dlcpose.codecs.coco import ground_truth, results
from dlcpose.metrics.base import EvaluatedFrames, Metric
from dlcpose.metrics.figure_info import FigureInfo

MAX_DETECTIONS = 20  # animals of an image that COCO counts, by falling score


@dataclass(frozen=True)
class ObjectKeypointSimilarity(Metric):
    """`oks_ap`, `oks_ap50`, `oks_ap75`, `oks_ar`, in [0, 1], with the skeleton's sigmas, over all sizes of animals.

    Computed from exactly what `predictions.json` and `labels.json` hold. The area is the data's own where it has one,
    else the box of the labeled keypoints, 1 px² at least: an animal labeled at fewer than two places is matched only
    within about a pixel.
    """

    figures: ClassVar[Mapping[str, FigureInfo]] = {
        "oks_ap": FigureInfo(
            "OKS AP",
            higher_is_better=True,
            note="average precision over OKS 0.50 to 0.95, by pycocotools",
            headline=True,
            curve="average precision of poses",
        ),
        "oks_ap50": FigureInfo(
            "OKS AP50",
            higher_is_better=True,
            note="average precision at OKS 0.50",
            curve="average precision of poses",
        ),
        "oks_ap75": FigureInfo("OKS AP75", higher_is_better=True, note="average precision at OKS 0.75"),
        "oks_ar": FigureInfo("OKS AR", higher_is_better=True, note="average recall over OKS 0.50 to 0.95"),
    }

    def __call__(self, frames: EvaluatedFrames) -> dict[str, float]:
        """The figures, NaN where nothing is labeled."""
        gt = ground_truth(frames.labels, frames.skeleton)
        image_ids = {image["file_name"]: image["id"] for image in gt["images"]}
        return average_precision(gt, results(frames.predictions, image_ids), frames.skeleton.sigmas)


def average_precision(
    gt: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> dict[str, float]:
    """OKS AP, AP50, AP75 and AR of COCO results against a COCO ground truth, with these sigmas: (K,).

    COCO's limit of 20 detections in an image is raised to the largest number of labeled animals in one.
    """
    labeled_in_image = np.bincount([annotation["image_id"] for annotation in gt["annotations"]], minlength=1)
    # pycocotools prints, and writes into what it is given.
    with contextlib.redirect_stdout(io.StringIO()):
        coco_gt = COCO()
        coco_gt.dataset = deepcopy(dict(gt))
        coco_gt.createIndex()
        coco_detections = coco_gt.loadRes(deepcopy(list(detections))) if detections else _no_detections(coco_gt)
        evaluation = COCOeval(coco_gt, coco_detections, "keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        evaluation.params.maxDets = [max(MAX_DETECTIONS, int(labeled_in_image.max()))]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # (thresholds 0.5, 0.55, ... 0.95, recalls, 1, 1, 1), -1 where undefined
    return {
        "oks_ap": _mean(precision),
        "oks_ap50": _mean(precision[0]),
        "oks_ap75": _mean(precision[5]),
        "oks_ar": _mean(evaluation.eval["recall"]),
    }


def _no_detections(gt: COCO) -> COCO:
    empty = COCO()
    empty.dataset = {**gt.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _mean(values: Any) -> float:
    return float(np.mean(values)) if np.all(values > -1) else float("nan")
