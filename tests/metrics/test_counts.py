import numpy as np

from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.counts import Counts
from dlcpose.structures.sample import labels_of
from tests.metrics.made_up import SHAPE, SKELETON, at, prediction_of

NOTHING = np.full((1, 5, 2), np.nan)


def test_false_negatives_and_false_positives_are_counted() -> None:
    labels = [
        labels_of("a.png", (480, 640), np.stack([SHAPE + 100, at(400, 100)])),
        labels_of("b.png", (480, 640), np.zeros((0, 5, 2))),
        labels_of("c.png", (480, 640), np.concatenate([SHAPE[None] + 100, NOTHING])),
    ]
    predictions = [
        prediction_of("a.png", np.stack([SHAPE + 103, at(100, 400)])),
        prediction_of("b.png", np.concatenate([SHAPE[None], NOTHING])),
        prediction_of("c.png", np.zeros((0, 5, 2))),
    ]
    assert Counts()(EvaluatedFrames(predictions, labels, SKELETON)) == {
        "images": 3,
        "animals": 3,
        "false_negatives": 2,
        "false_positives": 2,
    }


def test_animals_in_ignored_boxes_are_no_false_positives() -> None:
    crowd = np.array([[400, 0, 640, 200]], np.float32)
    boxes = np.array([[0, 200, 300, 480], [np.nan] * 4], np.float32)  # the first animal has a box and no keypoints
    gt = np.concatenate([NOTHING, SHAPE[None] + 100])
    labels = [labels_of("a.png", (480, 640), gt, boxes_in_image=boxes, ignored_in_image=crowd)]
    found = np.stack([SHAPE + 101, at(500, 80), at(100, 300), at(400, 400)])
    assert Counts()(EvaluatedFrames([prediction_of("a.png", found)], labels, SKELETON))["false_positives"] == 1
