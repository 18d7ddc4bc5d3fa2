import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.oks import ObjectKeypointSimilarity
from dlcpose.structures.sample import labels_of
from tests.metrics.made_up import SHAPE, SKELETON, at, herd, prediction_of, seeds


def summary_of_pycocotools(labels, predictions) -> list[float]:
    """The ten numbers that COCOeval itself would print, from annotations written out here by hand."""
    annotations, found = [], []
    for i, (frame, prediction) in enumerate(zip(labels, predictions, strict=True), start=1):
        for points in frame.keypoints_in_image:
            seen = ~np.isnan(points[:, 0])
            if not seen.any():
                continue
            (left, top), (right, bottom) = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
            flat = np.where(seen[:, None], np.c_[points, np.full(5, 2)], 0)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": 1,
                    "iscrowd": 0,
                    "num_keypoints": int(seen.sum()),
                    "keypoints": flat.ravel().tolist(),
                    "area": max(1.0, float(right - left) * float(bottom - top)),
                    "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
                }
            )
        for points, score in zip(prediction.keypoints_in_image, prediction.scores, strict=True):
            if not np.isnan(points).any(axis=1).all():
                flat = np.nan_to_num(np.c_[points, np.ones(5)])
                found.append(
                    {"image_id": i, "category_id": 1, "keypoints": flat.ravel().tolist(), "score": float(score)}
                )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(1, len(labels) + 1)],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "animal"}],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(SKELETON.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats)


@given(seed=seeds)
@settings(max_examples=8, deadline=None)
def test_figures_are_those_of_pycocotools(seed: int) -> None:
    labels, predictions = herd(seed, frames=8)
    figures = ObjectKeypointSimilarity()(EvaluatedFrames(predictions, labels, SKELETON))
    theirs = summary_of_pycocotools(labels, predictions)
    expected = {"oks_ap": theirs[0], "oks_ap50": theirs[1], "oks_ap75": theirs[2], "oks_ar": theirs[5]}
    assert figures == pytest.approx(expected, abs=1e-6)


def test_known_precision_of_a_hand_made_case() -> None:
    # One animal predicted exactly with the middle score, one false positive with a higher one, one false negative:
    # precision 1/2 up to recall 1/2. Of COCO's 101 recalls 51 are at most 1/2.
    labels = [labels_of("a.png", (480, 640), np.stack([SHAPE + 100, at(500, 100)]))]
    found = np.stack([SHAPE + 100, at(100, 400)])
    figures = ObjectKeypointSimilarity()(
        EvaluatedFrames([prediction_of("a.png", found, scores=np.array([0.5, 0.9]))], labels, SKELETON)
    )
    assert figures == pytest.approx({"oks_ap": 51 / 202, "oks_ap50": 51 / 202, "oks_ap75": 51 / 202, "oks_ar": 0.5})


def test_the_data_s_area_counts_before_the_keypoints_box() -> None:
    gt, found = SHAPE[None] + 100, SHAPE[None] + 110
    small, large = (labels_of("a.png", (480, 640), gt, areas=np.array([area], np.float32)) for area in (10.0, 1e6))
    score = ObjectKeypointSimilarity()
    assert score(EvaluatedFrames([prediction_of("a.png", found)], [small], SKELETON))["oks_ap"] == 0
    assert score(EvaluatedFrames([prediction_of("a.png", found)], [large], SKELETON))["oks_ap"] == pytest.approx(1)


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong() -> None:
    crowd = np.array([[350, 0, 640, 300]], np.float32)
    found = np.stack([SHAPE + 100, at(500, 100), at(450, 100)])
    prediction = prediction_of("a.png", found, scores=np.array([0.5, 0.8, 0.9]))
    without = labels_of("a.png", (480, 640), SHAPE[None] + 100)
    within = labels_of("a.png", (480, 640), SHAPE[None] + 100, ignored_in_image=crowd)
    score = ObjectKeypointSimilarity()
    assert score(EvaluatedFrames([prediction], [without], SKELETON))["oks_ap"] == pytest.approx(1 / 3)
    assert score(EvaluatedFrames([prediction], [within], SKELETON))["oks_ap"] == pytest.approx(1)


def test_a_crowded_image_is_scored_whole() -> None:
    places = np.stack(np.meshgrid(np.arange(6), np.arange(5)), axis=-1).reshape(30, 1, 2) * 300
    labels = [labels_of("a.png", (3000, 3000), SHAPE + places)]
    assert (
        ObjectKeypointSimilarity()(EvaluatedFrames([prediction_of("a.png", SHAPE + places)], labels, SKELETON))[
            "oks_ar"
        ]
        == 1
    )


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    labels, predictions = herd(1)
    ObjectKeypointSimilarity()(EvaluatedFrames(predictions, labels, SKELETON))
    assert capfd.readouterr() == ("", "")
