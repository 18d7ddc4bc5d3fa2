"""Frames of a video file: each with its own number, upright and in its colors, whatever the file is like."""

import contextlib
import os
import queue
import re
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from dlcpose.datasets import matroska, video
from dlcpose.datasets.base import read_image_file
from dlcpose.datasets.frame_conversion import display_matrix
from dlcpose.datasets.matroska import ends_within_an_element
from dlcpose.datasets.video import VideoReader, fingerprint, frame_times, video_info
from dlcpose.datasets.video_frames import VideoFrames
from dlcpose.structures.errors import DataError
from dlcpose.visualization.video_file import write_video
from tests.datasets.numbered_videos import bar_code, number_of, write_numbered, write_planes

UNEVEN = np.cumsum(np.random.default_rng(0).integers(5, 90, 60)).tolist()
KINDS = {
    "b_frames.mp4": {},
    "uneven.mkv": {"milliseconds": UNEVEN},
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 0},
    "mpeg4_b_frames.avi": {"codec": "mpeg4"},
    "h264.avi": {},  # whose time stamps do not rise
    "stream.h264": {},  # which has none
    "broadcast.ts": {},
    "vp9.webm": {"codec": "libvpx-vp9", "b_frames": None},
    "vp8.webm": {"codec": "libvpx", "b_frames": None, "options": {"auto-alt-ref": "1", "lag-in-frames": "10"}},
}


@pytest.mark.parametrize("name", KINDS)
def test_a_frame_has_the_number_that_it_shows(name: str, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / name, **KINDS[name])
    reader = VideoReader(path)
    frames = list(reader)
    assert [frame.index for frame in frames] == list(range(60))
    assert [number_of(frame.image) for frame in frames] == list(range(60))
    assert (reader.frames, reader.missing, reader.problem) == (60, [], None)
    times = np.array([frame.time for frame in frames])
    if "milliseconds" in KINDS[name]:
        np.testing.assert_allclose(times, np.array(UNEVEN) / 1000, atol=1e-9)
    else:
        np.testing.assert_allclose(np.diff(times), 0.04, atol=2e-3)  # webm counts milliseconds
    assert all(frame.image.dtype == np.uint8 and frame.image.flags.c_contiguous for frame in frames)


@pytest.mark.parametrize(("start", "stop", "step"), [(0, None, 1), (7, 40, 1), (5, 50, 9), (59, None, 1), (0, 1000, 7)])
def test_a_part_is_that_part_of_the_whole(start: int, stop: int | None, step: int, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.mp4")
    reader = VideoReader(path, start=start, stop=stop, step=step, ahead=3)
    frames = list(reader)
    assert [frame.index for frame in frames] == list(range(60))[start:stop:step]
    assert [number_of(frame.image) for frame in frames] == [frame.index for frame in frames]
    assert reader.frames == (60 if stop is None or stop > 60 else None)


def test_invalid_ranges_are_refused(tmp_path: Path) -> None:
    for wrong in ({"start": -1}, {"stop": 0}, {"start": 5, "stop": 5}, {"step": 0}):
        with pytest.raises(ValueError, match="expected start"):
            VideoReader(tmp_path / "v.mp4", **wrong)


def test_a_crop_is_cut_out_of_every_frame(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.mp4", 4)
    whole, part = list(VideoReader(path)), list(VideoReader(path, crop=(11, 3, 60, 40)))
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one.image[3:40, 11:60], other.image)


def test_frames_are_decoded_ahead_but_not_without_bound(tmp_path: Path) -> None:
    reader = VideoReader(write_numbered(tmp_path / "v.mp4", 200, key_every=1, b_frames=0), ahead=4)
    converted = []
    reader._converted = lambda index, frame: converted.append(index)  # type: ignore[method-assign,assignment]
    frames = iter(reader)
    next(frames)
    time.sleep(0.5)
    assert 4 <= len(converted) <= 8
    frames.close()
    assert not [thread for thread in threading.enumerate() if thread.name in ("decode", "convert_0")]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_are_given_as_they_are_shown(rotation: int, tmp_path: Path) -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :24], image[16:, :24] = (220, 30, 30), (30, 200, 30)
    path = write_numbered(tmp_path / "turned.mp4", 3, size=(32, 48), image_of=lambda _: image, rotation=rotation)
    frame = next(iter(VideoReader(path)))
    capture = cv2.VideoCapture(str(path))  # turns by itself
    theirs = capture.read()[1][..., ::-1]
    assert frame.image.shape == theirs.shape
    np.testing.assert_allclose(frame.image.astype(float), theirs.astype(float), atol=12)
    info = video_info(path)
    assert (info.height, info.width) == frame.image.shape[:2]


KR_KB = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}


def test_side_data_is_looked_up_by_its_kind() -> None:
    """PyAV 19, which Python 3.12 and later get, iterates over the kinds; before, over the data."""
    matrix = np.array([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30], np.int32).tobytes()
    assert display_matrix(SimpleNamespace(side_data={"A53_CC": b"", "DISPLAYMATRIX": matrix})) == (0, 65536, -65536, 0)
    assert display_matrix(SimpleNamespace(side_data={})) is None


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("matrix", ["601", "709", "unstated"])
def test_colors_come_out_as_they_went_in(matrix: str, is_full: bool, tmp_path: Path) -> None:
    color = np.array([200, 40, 60])
    kr, kb = KR_KB["601" if matrix == "unstated" else matrix]
    r, g, b = color / 255
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    planes = (255 * y, 128 + 255 * u, 128 + 255 * v) if is_full else (16 + 219 * y, 128 + 224 * u, 128 + 224 * v)
    tag = {"601": 5, "709": 1, "unstated": 2}[matrix]
    path = write_planes(
        tmp_path / "color.mkv", [round(each) for each in planes], colorspace=tag, color_range=2 if is_full else 1
    )
    for frame in VideoReader(path):
        np.testing.assert_allclose(frame.image.reshape(-1, 3).mean(axis=0), color, atol=2)


@pytest.mark.parametrize(
    ("codec", "pixels"), [("ffv1", "gray"), ("ffv1", "gray16le"), ("ffv1", "yuva444p"), ("qtrle", "argb")]
)
def test_gray_deep_and_transparent_frames_are_read_as_images_are(codec: str, pixels: str, tmp_path: Path) -> None:
    path = write_numbered(
        tmp_path / ("v.mov" if codec == "qtrle" else "v.mkv"), 5, codec=codec, pixels=pixels, b_frames=None
    )
    frames = list(VideoReader(path))
    assert [number_of(frame.image) for frame in frames] == list(range(5))
    assert all(frame.image.shape == (48, 80, 3) for frame in frames)


def test_sixteen_bits_are_read_as_those_of_an_image(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 80).astype(np.uint16)[None].repeat(32, axis=0)
    import av

    with av.open(str(tmp_path / "deep.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 80, "gray16le"
        frame = av.VideoFrame.from_ndarray(ramp, format="gray16le")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    cv2.imwrite(str(tmp_path / "deep.png"), ramp)
    image = next(iter(VideoReader(tmp_path / "deep.mkv"))).image
    difference = np.abs(image.astype(int) - read_image_file(tmp_path / "deep.png").astype(int))
    assert difference.max() <= 1


def test_odd_sizes_are_whole(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "odd.mkv", 5, codec="ffv1", pixels="yuv420p", size=(47, 81), b_frames=None)
    frames = list(VideoReader(path))
    assert [frame.image.shape for frame in frames] == [(47, 81, 3)] * 5
    assert [number_of(frame.image) for frame in frames] == list(range(5))


# ------------------------------------------------------------------------------------------------------------- bad files


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("text.mp4", "gone.mp4", "empty.mp4", "pipe.mp4", "."):
        with pytest.raises(DataError, match=r"cannot be read as a video after 0 frames \([^\[]+\)"):
            list(VideoReader(tmp_path / name))
        with pytest.raises(DataError):
            video_info(tmp_path / name)


def test_a_file_of_sound_is_refused(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "sound.mov"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="without any picture"):
        list(VideoReader(tmp_path / "sound.mov"))


def test_a_playlist_fetches_nothing(tmp_path: Path) -> None:
    content = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(content)
    with pytest.raises(DataError):
        list(VideoReader(tmp_path / "list.m3u8"))


@pytest.mark.parametrize("end", ["#EXT-X-ENDLIST\n", ""])  # without it a player waits for more, for ever
def test_a_playlist_has_no_other_file_read(tmp_path: Path, end: str) -> None:
    write_numbered(tmp_path / "elsewhere.ts", 8)
    (tmp_path / "given").mkdir()
    playlist, itself = tmp_path / "given" / "cage.m3u8", tmp_path / "given" / "cage.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{tmp_path}/elsewhere.ts\n{end}")
    itself.write_text("ffconcat version 1.0\nfile cage.mp4\n")
    for path in (playlist, itself):
        for read in (lambda path: list(VideoReader(path)), video_info, VideoFrames):
            with pytest.raises(DataError, match="list of other files"):
                read(path)


def test_frames_of_more_pixels_than_any_camera_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_numbered(tmp_path / "v.mp4", 4)
    monkeypatch.setattr(video, "MAX_PIXELS", 100)
    with pytest.raises(DataError, match="at most 100 pixels"):
        list(VideoReader(path))


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    content = write_numbered(tmp_path / "v.ts", 40).read_bytes()
    (tmp_path / "head.mkv").write_bytes(write_numbered(tmp_path / "v.mkv").read_bytes()[:700])
    with pytest.raises(DataError):
        list(VideoReader(tmp_path / "head.mkv"))
    assert len(content) > 0


def corrupt(path: Path, share: float, count: int = 300) -> Path:
    """Overwrite bytes of a file at random."""
    content = bytearray(path.read_bytes())
    place = int(len(content) * share)
    content[place : place + count] = np.random.default_rng(1).integers(0, 256, count, dtype=np.uint8).tobytes()
    path.write_bytes(content)
    return path


def with_noise(number: int) -> np.ndarray:
    """A numbered image that does not compress to nothing."""
    noise = np.random.default_rng(0).integers(0, 60, (48, 80, 3), dtype=np.uint8)
    return np.clip(bar_code(number).astype(int) - np.roll(noise, number, axis=1), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("share", [0.3, 0.4, 0.5, 0.6, 0.7])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_behind_damage_frames_keep_their_numbers(name: str, share: float, tmp_path: Path) -> None:
    reader = VideoReader(corrupt(write_numbered(tmp_path / name, 120, image_of=with_noise), share))
    frames = list(reader)
    assert reader.problem is not None
    assert reader.uncertain_from is None
    if reader.jumps:  # Matroska's reader skips what it cannot read without a word: time alone tells
        assert not reader.missing
        assert name == "v.mkv"
        return
    lost = {number for each in reader.missing for number in each}
    given = [frame.index for frame in frames]
    assert not lost & set(given)
    assert lost | set(given) == set(range(120))
    # From the damage to the next key frame or two, the decoder guesses; what it shows there is not asked.
    wrong = [frame.index for frame in frames if number_of(frame.image) != frame.index]
    assert not wrong or max(wrong) - min(wrong) < 24
    assert max(given) == 119


@pytest.mark.parametrize(("codec", "b_frames"), [("libx264", 2), ("libx264", 0)])
def test_a_stream_that_begins_between_key_frames_counts_from_the_first_that_is_shown(
    codec: str, b_frames: int, tmp_path: Path
) -> None:
    packets = write_numbered(tmp_path / "whole.ts", codec=codec, b_frames=b_frames, image_of=with_noise).read_bytes()
    tables, rest = packets[: 3 * 188], packets[len(packets) // 188 * 188 * 3 // 10 // 188 * 188 :]
    path = tmp_path / "cut.ts"
    path.write_bytes(tables + rest)
    reader = VideoReader(path)
    frames = list(reader)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    (first,) = {number_of(frame.image) - frame.index for frame in frames}
    assert 12 <= first < 30  # the next key frame behind the cut, of one in twelve frames at least
    assert reader.leading > 0
    assert not reader.missing
    assert f"cut.ts: it begins between key frames, so that its first {reader.leading} frames cannot be" in str(
        reader.problem
    )
    assert video_info(path).frames == len(frames) == reader.frames
    np.testing.assert_allclose(frame_times(path), [frame.time for frame in frames])


def test_dropped_camera_frames_are_reported_as_jumps(tmp_path: Path) -> None:
    times = [40 * number for number in range(60) if not 30 <= number < 34]
    reader = VideoReader(write_numbered(tmp_path / "v.mkv", 56, milliseconds=times))
    assert [frame.index for frame in reader] == list(range(56))
    assert (reader.missing, reader.jumps) == ([], [30])
    assert "its time stamps jump before 30" in str(reader.problem)
    assert "Restore" not in str(reader.problem)  # nothing is damaged


def test_where_damage_leaves_no_way_to_number_frames_that_is_said(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.avi", 120, codec="mpeg4", b_frames=0, image_of=with_noise)
    reader = VideoReader(corrupt(path, 0.5))
    frames = list(reader)
    assert len(frames) < 120
    assert sum(len(each) for each in reader.missing) == 120 - len(frames)
    assert reader.uncertain_from is not None
    sound = [frame for frame in frames if frame.index < reader.uncertain_from]
    assert [number_of(frame.image) for frame in sound] == [frame.index for frame in sound]
    assert "may be too low" in str(reader.problem)


def test_of_a_video_that_breaks_off_there_is_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    write_video(tmp_path / "whole.mkv", images, fps=10)
    content = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(content[: len(content) // 2])
    seen = []
    with contextlib.suppress(DataError):  # a container may also end anywhere: what is there is given
        seen.extend(VideoReader(tmp_path / "half.mkv"))
    assert 0 < len(seen) < 20


@pytest.mark.parametrize(("name", "codec", "pixels"), [("v.mjpeg", "mjpeg", "yuvj420p"), ("v.gif", "gif", "rgb8")])
@pytest.mark.parametrize("filling", [b"", b"\0" * 100], ids=["", "filled"])
def test_a_file_without_the_mark_at_its_end_is_cut(
    name: str, codec: str, pixels: str, filling: bytes, tmp_path: Path
) -> None:
    path = write_numbered(tmp_path / name, 30, codec=codec, pixels=pixels, b_frames=None)
    content = path.read_bytes()
    path.write_bytes(content + filling)
    whole = VideoReader(path)
    assert len(list(whole)) == 30
    assert whole.problem is None
    path.write_bytes(content[: int(len(content) * 0.7)] + filling)
    reader = VideoReader(path)
    last = [frame.index for frame in reader][-1]
    assert 10 < last < 29
    assert reader.damaged == [last]


def test_lost_tail_is_reported_by_the_containers_length(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.mp4", 60, options={}, key_every=6)
    with_head_first = tmp_path / "head_first.mp4"
    import av

    with av.open(str(path)) as given, av.open(str(with_head_first), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    content = with_head_first.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(len(content) * 0.7)])
    reader = VideoReader(tmp_path / "cut.mp4")
    frames = list(reader)
    assert 10 < len(frames) < 60
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert reader.missing[-1].stop == 60
    assert re.search(r"cut\.mp4: .* could not be decoded \(\d+ to 59\).*\. Restore the file", str(reader.problem))


@pytest.mark.parametrize("milliseconds", [None, np.cumsum(np.arange(60) % 7 * 20 + 20).tolist()])
@pytest.mark.parametrize(("name", "codec"), [("v.mkv", "libx264"), ("v.webm", "libvpx-vp9")])
def test_a_lost_tail_is_reported_by_the_time_that_the_container_states(
    tmp_path: Path, name: str, codec: str, milliseconds: list[int] | None
) -> None:
    path = write_numbered(tmp_path / name, 60, codec=codec, options={}, key_every=6, milliseconds=milliseconds)
    whole = VideoReader(path)
    assert len(list(whole)) == 60
    assert whole.problem is None
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.7)])
    reader = VideoReader(path)
    last = [frame.index for frame in reader][-1]
    assert 10 < last < 59
    assert reader.cut_after == last
    assert re.search(rf"it ends with frame {last}, .*\. Restore the file", str(reader.problem))


def write_live(path: Path) -> tuple[Path, list[int]]:
    """A WebM as it is written while it is sent, without a duration, and the places where one of its parts ends."""
    write_numbered(path.with_name("source.webm"), 60, codec="libvpx-vp9", options={}, key_every=6)
    places: list[int] = []
    with (
        av.open(str(path.with_name("source.webm"))) as source,
        path.open("wb") as file,
        av.open(file, "w", format="webm", options={"live": "1", "cluster_time_limit": "400"}) as live,
    ):
        stream = live.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                live.mux(packet)
                file.flush()
                places.append(path.stat().st_size)
    return path, places


def test_a_live_recording_that_is_cut_within_a_part_is_reported(tmp_path: Path) -> None:
    path, places = write_live(tmp_path / "live.webm")
    whole = VideoReader(path)
    assert len(list(whole)) == 60
    assert (whole.problem, av.open(str(path)).duration) == (None, None)
    content = path.read_bytes()
    for share in (0.4, 0.55, 0.7, 0.9, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        reader = VideoReader(path)
        last = [frame.index for frame in reader][-1]
        assert 3 < last < 59
        assert re.search(rf"it ends with frame {last}, .*\. Restore the file", str(reader.problem))
    # Between two parts there is nothing that tells.
    path.write_bytes(content[: places[len(places) // 2]])
    reader = VideoReader(path)
    assert 10 < len(list(reader)) < 60
    assert reader.problem is None


# ---------------------------------------------------------------------------------------------------------- decoded ahead


@pytest.mark.parametrize(("size", "least", "held"), [(3, 1, 3), (3, 5, 5), (0.5, 1, 1), (100, 1, 8)])
def test_frames_that_wait_are_bounded_in_bytes_and_in_number(
    size: float, least: int, held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """size: bytes that may wait, in frames."""
    queues: list[queue.Queue[object]] = []

    def kept(maxsize: int) -> queue.Queue[object]:
        queues.append(queue.Queue(maxsize))
        return queues[0]

    monkeypatch.setattr(video, "queue", SimpleNamespace(Queue=kept, Full=queue.Full, Empty=queue.Empty))
    monkeypatch.setattr(video, "MAX_AHEAD", int(size * 48 * 80 * 3))
    frames = iter(VideoReader(write_numbered(tmp_path / "v.mp4"), ahead=8, least_ahead=least))
    next(frames)
    while not queues[0].full():  # of 60 frames there are more than have room
        time.sleep(0.01)
    assert queues[0].qsize() == held
    assert [frame.index for frame in frames] == list(range(1, 60))


# -------------------------------------------------------------------------------------------------------- which video it is


def test_a_video_is_described(tmp_path: Path) -> None:
    info = video_info(write_numbered(tmp_path / "v.mkv", 33))
    assert (info.height, info.width, info.frames, info.fps) == (48, 80, 33, 25.0)
    assert info.path == str(tmp_path / "v.mkv")


def test_a_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.mp4")
    shutil.copy(path, tmp_path / "elsewhere.mp4")
    assert fingerprint(path) == fingerprint(tmp_path / "elsewhere.mp4")
    before = fingerprint(path)
    for change in (lambda content: content + b"\0", lambda content: content[:-1] + bytes([content[-1] ^ 1])):
        (tmp_path / "changed.mp4").write_bytes(change(path.read_bytes()))
        assert fingerprint(tmp_path / "changed.mp4") != before
    with pytest.raises(DataError, match=r"gone\.mp4"):
        fingerprint(tmp_path / "gone.mp4")


@pytest.mark.parametrize("name", KINDS)
def test_times_of_frames_need_no_decoding(name: str, tmp_path: Path) -> None:
    write_numbered(tmp_path / name, **KINDS[name])
    expected = [frame.time for frame in VideoReader(tmp_path / name)]
    np.testing.assert_allclose(frame_times(tmp_path / name), expected, rtol=1e-12)


def test_no_more_parts_of_a_matroska_file_are_walked_through_than_a_recording_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, empty, cut = tmp_path / "a.mkv", b"\xec\x80", b"\xec\x90"  # a part of 16 bytes that are not there
    path.write_bytes(empty * 50 + cut)
    assert ends_within_an_element(path)
    monkeypatch.setattr(matroska, "MAX_ELEMENTS", 50)
    assert not ends_within_an_element(path)
