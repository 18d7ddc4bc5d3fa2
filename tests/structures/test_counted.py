"""Counts in messages."""

import re
from pathlib import Path

import pytest

import dlcpose
from dlcpose.structures.counted import counted

# Names of things that messages count, where a count may be 1; others are of a constant, or of two and more.
COUNTED = "animal|clip|detection|epoch|frame|image|job|keypoint|step|teacher|tensor|track|tracklet|trial|video|worker"


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 frames"), (1, "1 frame"), (2, "2 frames"), (1000, "1000 frames")]
)
def test_one_is_one(number: int, expected: str) -> None:
    assert counted(number, "frame") == expected


def test_several_may_be_called_otherwise() -> None:
    assert [counted(number, "box is", "boxes are") for number in (1, 3)] == ["1 box is", "3 boxes are"]


def test_no_line_that_is_printed_counts_without_it() -> None:
    printed = re.compile(rf"(typer\.echo|print|logger\.\w+)\(\s*f?\"[^\"\n]*(\}}|%d) ([a-z]+ )?({COUNTED})s\b")
    for path in Path(dlcpose.__file__).parent.rglob("*.py"):
        found = printed.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path}: {found[0]}"
