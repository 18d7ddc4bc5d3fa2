"""Frames of a video file."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from dlcpose.datasets.video import read_video
from dlcpose.structures.errors import DataError
from dlcpose.visualization.video_file import write_video


def test_frames_come_in_order_as_they_were_written(tmp_path: Path) -> None:
    greys = [40, 90, 140, 190]
    write_video(tmp_path / "steps.mp4", [np.full((48, 64, 3), grey, np.uint8) for grey in greys], fps=10)
    frames = list(read_video(tmp_path / "steps.mp4"))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 4
    assert all(frame.dtype == np.uint8 for frame in frames)
    np.testing.assert_allclose([frame.mean() for frame in frames], greys, atol=4)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("text.mp4", "gone.mp4"):
        with pytest.raises(DataError, match=rf"{name}: cannot be read as a video after 0 frames"):
            list(read_video(tmp_path / name))


def test_of_a_video_that_breaks_off_there_is_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    write_video(tmp_path / "whole.mkv", images, fps=10)
    content = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(content[: len(content) // 2])
    seen = []
    with contextlib.suppress(DataError):  # a container may also end anywhere: what is there is given
        seen.extend(read_video(tmp_path / "half.mkv"))
    assert 0 < len(seen) < 20
