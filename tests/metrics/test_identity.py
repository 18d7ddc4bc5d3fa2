"""Who is who, of the animals that were found."""

from dataclasses import replace

import numpy as np
import pytest

from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.identity import IdentityAccuracy
from dlcpose.structures.sample import FrameLabels, labels_of
from tests.metrics.made_up import SKELETON, at, perfect


def frame_of(identities: list[int], key: str = "a") -> FrameLabels:
    places = np.stack([at(150.0 * number + 50, 100) for number in range(len(identities))])
    return labels_of(key, (300, 900), places.astype(np.float32), identities=np.array(identities, np.int64))


def accuracy(named: list[list[int]], labels: list[FrameLabels]) -> float:
    predictions = [
        replace(prediction, identities=np.array(who, np.int64))
        for prediction, who in zip(perfect(labels), named, strict=True)
    ]
    return IdentityAccuracy()(EvaluatedFrames(predictions, labels, SKELETON))["identity_accuracy"]


def test_the_share_of_rightly_named_animals() -> None:
    labels = [frame_of([0, 1, 2]), frame_of([1, 0], "b")]
    assert accuracy([[0, 1, 2], [1, 0]], labels) == 1.0
    assert accuracy([[0, 2, 1], [1, 0]], labels) == pytest.approx(3 / 5)
    assert accuracy([[0, 1, -1], [0, 1]], labels) == pytest.approx(2 / 5)


def test_order_of_predictions_does_not_matter() -> None:
    labels = [frame_of([0, 1, 2])]
    (prediction,) = perfect(labels)
    order = [2, 0, 1]
    turned = replace(
        prediction,
        keypoints_in_image=prediction.keypoints_in_image[order],
        keypoint_scores=prediction.keypoint_scores[order],
        identities=np.array(order, np.int64),
    )
    assert IdentityAccuracy()(EvaluatedFrames([turned], labels, SKELETON)) == {"identity_accuracy": 1.0}


def test_animals_of_unknown_name_do_not_count() -> None:
    assert accuracy([[0, 1]], [frame_of([0, -1])]) == 1.0


def test_false_negative_does_not_count() -> None:
    labels = [frame_of([0, 1])]
    (prediction,) = perfect(labels)
    one = replace(
        prediction,
        keypoints_in_image=prediction.keypoints_in_image[:1],
        keypoint_scores=prediction.keypoint_scores[:1],
        scores=prediction.scores[:1],
        identities=np.array([0], np.int64),
        boxes_in_image=prediction.boxes_in_image[:1],
    )
    assert IdentityAccuracy()(EvaluatedFrames([one], labels, SKELETON)) == {"identity_accuracy": 1.0}


@pytest.mark.parametrize(("named", "known"), [([-1, -1], [0, 1]), ([0, 1], [-1, -1]), ([], [])])
def test_figure_is_nan_without_identities(named: list[int], known: list[int]) -> None:
    labels = [frame_of(known)] if known else []
    assert np.isnan(accuracy([named] if known else [], labels))
