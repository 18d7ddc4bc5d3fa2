"""Average precision and recall over object keypoint similarity, counted by pycocotools."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dlcpose.codecs.coco import ground_truth, results
from dlcpose.metrics.base import check_frames
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton

MOST_FOUND = 20  # animals of an image that COCO counts, the surest first


@dataclass(frozen=True)
class ObjectKeypointSimilarity:
    """`oks_ap`, `oks_ap50`, `oks_ap75`, `oks_ar`, in [0, 1], with the skeleton's sigmas, over all sizes of animals.

    Scored is exactly what `predictions.json` and `labels.json` hold. The area is the data's own where it has one, else
    the box of the labelled keypoints, 1 px² at least: animals labelled at fewer than two places can hardly be found.
    """

    def __call__(
        self, predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton
    ) -> dict[str, float]:
        """The figures, NaN where nothing is labelled."""
        check_frames(predictions, labels, skeleton)
        gt = ground_truth(labels, skeleton)
        image_ids = {image["file_name"]: image["id"] for image in gt["images"]}
        return average_precision(gt, results(predictions, image_ids), skeleton.sigmas)


def average_precision(
    gt: Mapping[str, Any], found: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> dict[str, float]:
    """Precision and recall of COCO results against a COCO ground truth; more than 20 animals where more are labelled."""
    predictions_in_image = np.bincount([annotation["image_id"] for annotation in gt["annotations"]], minlength=1)
    # pycocotools prints, and writes into what it is given.
    with contextlib.redirect_stdout(io.StringIO()):
        labelled = COCO()
        labelled.dataset = deepcopy(dict(gt))
        labelled.createIndex()
        scored = labelled.loadRes(deepcopy(list(found))) if found else _nothing(labelled)
        evaluation = COCOeval(labelled, scored, "keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        evaluation.params.maxDets = [max(MOST_FOUND, int(predictions_in_image.max()))]
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


def _nothing(labelled: COCO) -> COCO:
    empty = COCO()
    empty.dataset = {**labelled.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _mean(values: Any) -> float:
    return float(np.mean(values)) if np.all(values > -1) else float("nan")
