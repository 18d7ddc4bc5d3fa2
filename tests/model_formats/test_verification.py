"""What the check of an exported model says, and that it says so where it compared nothing."""

import logging
from typing import Any

import numpy as np
import pytest

from dlcpose.model_formats import verification
from dlcpose.model_formats.verification import Agreement, check_agreement
from dlcpose.structures.errors import ConfigError


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
