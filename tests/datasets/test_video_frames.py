"""Single frames of videos: the same as those of a reader that decodes every frame in order."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from dlcpose.datasets import video_frames
from dlcpose.datasets.video import VideoReader
from dlcpose.datasets.video_frames import VideoFrames
from dlcpose.structures.errors import DataError
from tests.datasets.numbered_videos import number_of, write_numbered
from tests.datasets.test_video import KINDS

NOT_SOUGHT = {"stream.h264", "vp8.webm", "h264.avi"}


@pytest.mark.parametrize("name", KINDS)
def test_a_frame_is_that_of_the_whole_video(name: str, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / name, **KINDS[name])
    whole, frames = [frame.image for frame in VideoReader(path)], VideoFrames(path)
    assert frames.size == (48, 80)
    for index in (59, 0, 23, 24, 25, 7):
        image = frames.read(index)
        assert number_of(image) == index
        np.testing.assert_array_equal(image, whole[index])
    assert (frames._times is None) <= (name in NOT_SOUGHT)
    again = VideoFrames(path)
    for index in (0, 1, 2, 5, 6, 30, 29, 31, 58, 59):  # each behind the one before, or not
        assert number_of(frames.read(index)) == number_of(again.read(index)) == index


def test_frames_in_their_order_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_numbered(tmp_path / "v.mp4", 60, key_every=60)
    decoded, convert = [], video_frames.upright_rgb
    monkeypatch.setattr(video_frames, "upright_rgb", lambda frame: decoded.append(frame.pts) or convert(frame))
    begun, begin = [], video_frames._begun_at
    monkeypatch.setattr(video_frames, "_begun_at", lambda video, key: begun.append(key) or begin(video, key))
    frames = VideoFrames(path)
    assert [number_of(frames.read(index)) for index in range(60)] == list(range(60))
    assert len(decoded) == 60
    assert len(begun) == len(frames._keys) < 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_reads_for_itself(tmp_path: Path) -> None:
    frames = VideoFrames(write_numbered(tmp_path / "v.mp4", 30, key_every=30))
    assert number_of(frames.read(3)) == 3
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_numbers, (frames, range(4, 20, 2))) == list(range(4, 20, 2))
    assert [number_of(frames.read(index)) for index in (4, 5, 9)] == [4, 5, 9]


def _numbers(frames: VideoFrames, indices: range) -> list[int]:
    return [number_of(frames.read(index)) for index in indices]


def test_frames_of_a_turned_video_are_upright(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.mp4", 8, rotation=90)
    assert VideoFrames(path).size == VideoFrames(path).read(3).shape[:2] == (80, 48)


def test_a_frame_behind_the_end_is_refused(tmp_path: Path) -> None:
    frames = VideoFrames(write_numbered(tmp_path / "v.mp4", 8))
    with pytest.raises(DataError, match=r"below 8.*got 8"):
        frames.read(8)


@pytest.mark.slow
def test_key_frames_that_need_others_before_them_are_not_trusted(shared_data: Path) -> None:
    """DeepLabCut's demo video: a decoder that begins at its second key frame gives green frames, and no error."""
    path = shared_data / "openfield-Pranav-2018-10-30/videos/m3v1mp4.mp4"
    chosen = {95, 627, 716, 1188}
    whole = {frame.index: frame.image for frame in VideoReader(path, stop=1200) if frame.index in chosen}
    frames = VideoFrames(path)
    for index in chosen:
        np.testing.assert_array_equal(frames.read(index), whole[index])
