import numpy as np
import pytest
from hypothesis import given

from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.pck import PercentageOfCorrectKeypoints, share_within
from dlcpose.structures.sample import labels_of
from tests.metrics.made_up import SHAPE, SKELETON, as_table, at, herd, prediction_of, seeds


@given(seed=seeds)
def test_pck_agrees_with_pandas(seed: int) -> None:
    labels, predictions = herd(seed, most=1, missing=0.4)
    table = as_table(labels, predictions)
    box = table.groupby("key").agg(left=("x", "min"), right=("x", "max"), top=("y", "min"), bottom=("y", "max"))
    size = np.maximum(box.right - box.left, box.bottom - box.top)
    table = table[table.x.notna() & (table.key.map(size) > 0)]
    near = ((table.x - table.fx) ** 2 + (table.y - table.fy) ** 2) ** 0.5 <= 0.1 * table.key.map(size)
    figures = PercentageOfCorrectKeypoints()(EvaluatedFrames(predictions, labels, SKELETON))
    assert figures["pck@0.1"] == pytest.approx(near.mean())
    assert figures["pck@0.05"] <= figures["pck@0.1"]


def test_false_negatives_count_as_wrong_and_animals_of_one_point_not_at_all() -> None:
    one_point = np.full_like(SHAPE, np.nan)
    one_point[0] = 5
    labels = [
        labels_of("a.png", (480, 640), np.stack([SHAPE + 200, at(500, 200)])),
        labels_of("b.png", (480, 640), one_point[None]),
    ]
    predictions = [prediction_of("a.png", SHAPE[None] + 200), prediction_of("b.png", SHAPE[None])]
    assert PercentageOfCorrectKeypoints()(EvaluatedFrames(predictions, labels, SKELETON)) == {
        "pck@0.05": 0.5,
        "pck@0.1": 0.5,
    }


def test_the_border_belongs_to_the_right_ones() -> None:
    errors, labeled = np.array([[10.0, 10.1, np.nan, 0.0]]), np.array([[True, True, True, False]])
    assert share_within(0.1, errors, labeled, np.array([100.0])) == pytest.approx(1 / 3)
