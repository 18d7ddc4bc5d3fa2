"""Box AP: counted as pycocotools counts files, on cases whose answer is known."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.boxes import BoxAveragePrecision, box_average_precision
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels, labels_of
from dlcpose.structures.skeleton import Skeleton

SKELETON = Skeleton(("nose", "tail"))
NO_CROWD = np.zeros((0, 4), np.float32)


def frame(key: str, boxes: list[list[float]], **more) -> FrameLabels:
    """Animals with a box and a keypoint at each end of it."""
    around = np.array(boxes, np.float32).reshape(-1, 4)
    return labels_of(key, (100, 200), around.reshape(-1, 2, 2), boxes_in_image=around, **more)


def found(key: str, boxes: list[list[float]], scores: list[float]) -> PosePrediction:
    count = len(boxes)
    return PosePrediction(
        key=key,
        keypoints_in_image=np.full((count, 2, 2), np.nan, np.float32),
        keypoint_scores=np.zeros((count, 2), np.float32),
        scores=np.array(scores, np.float32),
        identities=np.full(count, -1, np.int64),
        unique_in_image=np.zeros((0, 2), np.float32),
        unique_scores=np.zeros(0, np.float32),
        boxes_in_image=np.array(boxes, np.float32).reshape(-1, 4),
    )


def figures(predictions: list[PosePrediction], labels: list[FrameLabels]) -> dict[str, float]:
    return BoxAveragePrecision()(EvaluatedFrames(predictions, labels, SKELETON))


BOX, FAR = [10.0, 10.0, 50.0, 40.0], [120.0, 50.0, 180.0, 90.0]
HALF = [10.0, 10.0, 50.0, 26.0]  # of BOX's 30 px it covers 16: IoU 0.533


@pytest.mark.parametrize(
    ("boxes", "scores", "ap", "ap50"),
    [
        ([BOX, FAR], [0.9, 0.8], 1.0, 1.0),
        ([BOX, FAR, [0.0, 60.0, 30.0, 90.0]], [0.9, 0.8, 0.1], 1.0, 1.0),  # a guess that is worse than all others
        ([HALF, FAR], [0.9, 0.8], None, 1.0),
        ([BOX], [0.9], 51 / 101, 51 / 101),  # recall 0.5 is reached at 51 of 101 points
        ([[0.0, 60.0, 30.0, 90.0], BOX], [0.9, 0.2], 51 / 202, 51 / 202),
        ([], [], 0.0, 0.0),
    ],
)
def test_known_cases(boxes: list, scores: list, ap: float | None, ap50: float) -> None:
    got = figures([found("a", boxes, scores)], [frame("a", [BOX, FAR])])
    assert got["box_ap50"] == pytest.approx(ap50, abs=1e-6)
    # HALF counts at the first of the ten thresholds alone, and above that it stands before the right one.
    assert got["box_ap"] == pytest.approx((1.0 + 9 * 51 / 202) / 10 if ap is None else ap, abs=1e-6)


def test_files_scored_by_pycocotools_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 120, (12, 4, 2))
    gts = [np.concatenate([each, each + rng.uniform(10, 60, (4, 2))], axis=1) for each in corners]
    guesses = [gt + rng.normal(0, 4, gt.shape) for gt in gts]
    scores = [rng.uniform(0, 1, 4) for _ in gts]
    ours = box_average_precision(gts, [NO_CROWD] * 12, list(zip(guesses, scores, strict=True)))

    def entry(box: np.ndarray, image: int, **more) -> dict:
        corner, size = box[:2].tolist(), (box[2:] - box[:2]).tolist()
        return {"image_id": image, "category_id": 1, "bbox": corner + size, "area": size[0] * size[1], **more}

    annotations = [entry(box, i, iscrowd=0) for i, each in enumerate(gts) for box in each]
    dataset = {
        "images": [{"id": i} for i in range(12)],
        "categories": [{"id": 1}],
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations, start=1)],
    }
    results = [
        entry(box, i, score=float(score))
        for i, (boxes, sure) in enumerate(zip(guesses, scores, strict=True))
        for box, score in zip(boxes, sure, strict=True)
    ]
    (tmp_path / "ground_truth.json").write_text(json.dumps(dataset))
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(str(tmp_path / "ground_truth.json"))
        scored = COCOeval(gt, gt.loadRes(results), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert 0.1 < ours["box_ap"] < 0.9
    assert ours["box_ap"] == pytest.approx(scored.stats[0])
    assert ours["box_ap50"] == pytest.approx(scored.stats[1])
    assert ours["box_ar"] == pytest.approx(scored.stats[8])


def test_crowd_is_neither_true_nor_false_positive() -> None:
    crowd = np.array([FAR], np.float32)
    prediction = found("a", [FAR, BOX], [0.9, 0.5])
    assert figures([prediction], [frame("a", [BOX], ignored_in_image=crowd)])["box_ap"] == pytest.approx(1)
    assert figures([prediction], [frame("a", [BOX])])["box_ap"] < 0.6


def test_ground_truth_boxes_follow_the_rule_and_are_clipped() -> None:
    def shifted(keypoints: Tensor, boxes: Tensor) -> Tensor:
        return boxes + torch.tensor([100.0, 0.0, 100.0, 0.0])

    label = frame("a", [[60.0, 10.0, 140.0, 50.0]])
    prediction = found("a", [[160.0, 10.0, 199.5, 50.0]], [1.0])
    assert BoxAveragePrecision(boxes=shifted)(EvaluatedFrames([prediction], [label], SKELETON))[
        "box_ap"
    ] == pytest.approx(1)
    assert figures([prediction], [label])["box_ap"] == 0


def test_keypoints_stand_in_for_boxes() -> None:
    label = labels_of("a", (100, 200), np.array([[[10.0, 10.0], [50.0, 40.0]]]))
    assert figures([found("a", [BOX], [1.0])], [label])["box_ap"] == pytest.approx(1)


def test_nothing_is_defined_where_no_detector_spoke_or_nothing_is_labeled() -> None:
    silent = found("a", [[np.nan] * 4], [0.9])
    assert all(np.isnan(value) for value in figures([silent], [frame("a", [BOX])]).values())
    assert all(np.isnan(value) for value in figures([found("a", [BOX], [0.9])], [frame("a", [])]).values())
    assert all(np.isnan(value) for value in figures([], []).values())
