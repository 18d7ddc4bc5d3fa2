"""The contact sheet of what a model sees."""

from pathlib import Path

import numpy as np
import pytest

from dlcpose.cli.preview import _spread, preview_command
from dlcpose.datasets.base import read_image_file
from dlcpose.structures.errors import DlcposeError
from dlcpose.visualization.pictures import _Pen

SMALL = ["dataset.frames=24", "dataset.videos=2", "dataset.height=64", "dataset.width=64"]


def drawn(out: Path, *overrides: str, frames: int = 8) -> np.ndarray:
    preview_command([*SMALL, *overrides], out, frames)
    return read_image_file(out)


def test_frames_are_drawn_and_nothing_else_is_left(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = drawn(here / "sheets" / "preview.png")
    assert image.shape[1] >= 4 * 320
    assert image.shape[0] >= 2 * 320
    assert image.std() > 10
    *choices, last = capsys.readouterr().out.splitlines()
    assert last == f"{here / 'sheets' / 'preview.png'}: 8 training frames as the model sees them"
    assert [any(word in choice for choice in choices) for word in ("rotation", "flip", "scale", "frames")] == [True] * 4
    assert [path.name for path in here.rglob("*.*")] == ["preview.png"]


def test_the_augmentation_is_the_one_that_was_chosen(here: Path) -> None:
    none, strong = drawn(here / "none.png", "augmentation=none"), drawn(here / "strong.png", "augmentation=strong")
    assert none.shape == strong.shape
    assert (none != strong).mean() > 0.2


def test_the_seed_decides_what_is_drawn(here: Path) -> None:
    first, again = drawn(here / "a.png", frames=3), drawn(here / "b.png", frames=3)
    other = drawn(here / "c.png", "seed=5", frames=3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_frames_are_of_all_videos_and_of_all_parts_of_them() -> None:
    videos = [*["a"] * 100, *["b"] * 50, *["c"] * 2, None]
    chosen = _spread(range(len(videos)), videos, 12)
    assert [[videos[index] for index in chosen].count(video) for video in ("a", "b", "c", None)] == [5, 4, 2, 1]
    assert chosen[:5] == [0, 25, 50, 74, 99]
    assert [videos[index] for index in _spread(range(len(videos)), videos, 3)] == ["a", "c", None]
    assert _spread([4, 5], videos, 5) == [4, 5, 4, 5, 4]
    assert len(_spread(range(100), list(map(str, range(100))), 16)) == 16


def test_more_frames_than_there_are_show_some_again(here: Path) -> None:
    few = ["dataset.frames=4", "dataset.videos=1", "split.val=0.25", "split.test=0.25"]
    assert drawn(here / "preview.png", *few, frames=5).any()


def test_mistakes_are_reported(here: Path) -> None:
    with pytest.raises(DlcposeError, match="nowhere"):
        preview_command(["dataset=deeplabcut", "dataset.root=nowhere"], here / "preview.png", 4)
    with pytest.raises(DlcposeError, match="--output"):
        preview_command(SMALL, Path(), 4)
    assert not list(here.iterdir())


def test_the_arena_s_keypoints_are_drawn(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_arena = ["dataset.unique_points=3", "augmentation=none"]
    sheet = drawn(here / "drawn.png", *with_arena)
    monkeypatch.setattr(_Pen, "squares", lambda *_: None)
    assert (sheet != drawn(here / "without.png", *with_arena)).any()
