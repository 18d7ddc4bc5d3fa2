"""What the check of an exported model says, and that it says so where it compared nothing."""

import logging
from typing import Any

import numpy as np
import pytest

from dlcpose.model_formats import verification
from dlcpose.model_formats.verification import Agreement, _matched, check_agreement
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PosePrediction


def agreement(sure: int, others: int, **options: Any) -> Agreement:
    return Agreement(np.full(sure, 1e-6), np.full(others, 1e-6), 1e-7, 0, 8, "rendered", **options)


@pytest.mark.parametrize(("sure", "others", "warned"), [(3, 2, False), (0, 5, True), (0, 0, True)])
def test_a_check_without_a_sure_keypoint_asks_for_images(
    sure: int, others: int, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(verification, "compare", lambda *_: agreement(sure, others))
    with caplog.at_level(logging.WARNING, "dlcpose.model_formats"):
        check_agreement(None, None, (), precision="32")  # type: ignore[arg-type]
    assert ["--images" in record.message for record in caplog.records] == ([True] if warned else [])


def test_half_precision_is_refused_where_nothing_sure_was_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "compare", lambda *_: agreement(0, 5))
    with pytest.raises(ConfigError, match=r"none of them is sure.*--images"):
        check_agreement(None, None, (), precision="fp16")  # type: ignore[arg-type]


def test_each_part_of_the_sentence_stands_alone() -> None:
    assert "none of them is sure" in str(agreement(0, 5))
    assert "of the 5 unsure ones jump by more than 1 px" in str(agreement(0, 5))
    assert "none of them" not in str(agreement(3, 5))
    assert "unsure" not in str(agreement(3, 0))


def test_an_animal_is_compared_with_itself_whatever_others_lack() -> None:
    """Two animals that share no keypoint have no distance from each other, which is not that they are near."""
    points = np.full((2, 4, 2), np.nan, np.float32)
    points[0, :2], points[1, 2:] = 10.0, 50.0
    scores = np.where(np.isnan(points[..., 0]), 0.0, 0.9).astype(np.float32)
    none, boxes = np.zeros((0, 2), np.float32), np.full((2, 4), np.nan, np.float32)
    found = PosePrediction("frame", points, scores, scores.max(axis=1), np.full(2, -1), none, none[:, 0], boxes)
    for points_before, _, points_after, _ in _matched(found, found):
        np.testing.assert_array_equal(points_before, points_after)
