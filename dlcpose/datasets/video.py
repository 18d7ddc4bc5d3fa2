"""Frames of a video file in order, each with its number, decoded ahead in a thread of its own."""

import hashlib
import os
import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from dlcpose.datasets.frame_conversion import upright_rgb
from dlcpose.datasets.frame_numbers import FrameNumbers, ranges_as_text
from dlcpose.datasets.matroska import ends_within_an_element
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError
from dlcpose.structures.heap import trim_heap
from dlcpose.structures.pose_tracks import VideoInfo
from dlcpose.structures.sample import Image

Crop = tuple[int, int, int, int]  # x1 y1 x2 y2 in pixels of the upright frame, x2 and y2 excluded
SAMPLED = 2**20  # bytes at the start, in the middle and at the end that a fingerprint is computed from
LONGEST_FILLING = 4096  # bytes behind the mark at the end of a file
STATED = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")  # a duration in Matroska's metadata
# Of files that state no length, by FFmpeg's name of the format.
END_MARKS = {"mjpeg": b"\xff\xd9", "gif": b";"}
TRIM_EVERY = 500  # frames: with small ones a process kept 100 to 870 MB in 8 of 17 runs of one video
MAX_PIXELS = 2**26  # of a frame: 8192 x 8192; it takes 200 MB
MAX_AHEAD = 2**29  # bytes of frames that are decoded in advance: 86 of 1920 x 1080, 5 of 7680 x 4320
# FFmpeg's names of the formats that are read, of one file each. Playlists (hls, concat, dash, ...) have other files read,
# and may never end.
FORMATS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "mxf", "nut"),
    *("ogg", "ivf", "rm", "swf", "wtv", "dv", "gxf", "r3d", "nsv", "gif", "apng", "yuv4mpegpipe", "h261", "h263"),
    *("h264", "hevc", "vvc", "av1", "obu", "m4v", "vc1", "vc1test", "dirac", "cavsvideo", "mjpeg", "mpjpeg"),
    *("mjpeg_2000", "ingenient", "smjpeg", "dnxhd", "apv", "evc", "avs2", "avs3", "cine", "ser", "dhav", "live_flv"),
    *("kux", "lxf", "lmlm4", "nuv", "pva", "ty", "hxvs", "iv8", "ipu"),
)
CONVERTERS = 4  # threads that convert frames to RGB, at most: one alone holds up a GPU


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a video: its number from 0, its presentation time in seconds, and (H, W, 3) uint8 RGB."""

    index: int
    time: float
    image: Image


class VideoReader:
    """Iterates over the frames of a video file, or every `step`th from `start` to before `stop`.

    Frame numbers are exact whatever the frame rate does: a video is always decoded from its beginning, never sought in.
    Frames that are skipped are decoded but not converted. Times are NaN where the file has none. crop: the part of each
    frame that is returned. ahead: maximum number of frames decoded in advance; fewer where they would take more than
    MAX_AHEAD bytes, but not fewer than least_ahead. Set after the last frame: missing, damaged, jumps, uncertain_from,
    cut_after, leading, which frames could not be decoded or numbered (see FrameNumbers); frames, the number of frames up to
    the last that could be decoded, None where reading was stopped before. Set from the first frame on: size, the (height,
    width) of a whole frame; fps, NaN where the file does not state it; expected, about how many frames there will be, None
    where unknown; seconds of decoding and conversion so far. Raises DataError for what is no regular file, no video, has no
    frame, or frames of unlike size.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        start: int = 0,
        stop: int | None = None,
        step: int = 1,
        crop: Crop | None = None,
        ahead: int = 16,
        least_ahead: int = 1,
    ) -> None:
        if start < 0 or step < 1 or (stop is not None and stop <= start) or not 1 <= least_ahead <= ahead:
            raise ValueError(
                "expected start of 0 or more, stop above start, step of 1 or more and ahead of at least least_ahead, 1 or "
                f"more, got {start}, {stop}, {step}, {ahead} and {least_ahead}"
            )
        self.path = Path(path)
        self.start, self.stop, self.step, self.crop = start, stop, step, crop
        self.missing: list[range] = []
        self.damaged: list[int] = []
        self.uncertain_from: int | None = None
        self.jumps: list[int] = []
        self.cut_after: int | None = None
        self.leading = 0
        self.frames: int | None = None
        self.size: tuple[int, int] | None = None
        self.fps = np.nan
        self.expected: int | None = None
        self.seconds = 0.0
        self._lock = threading.Lock()
        self._ahead, self._least_ahead = ahead, least_ahead

    def __iter__(self) -> Iterator[VideoFrame]:
        waiting: queue.Queue[Any] = queue.Queue(self._ahead)
        is_left = threading.Event()
        thread = threading.Thread(target=self._decode, args=(waiting, is_left), name="decode", daemon=True)
        thread.start()
        try:
            while (item := waiting.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                index, seconds, image = item
                yield VideoFrame(index, seconds, image.result())
                if index % TRIM_EVERY == TRIM_EVERY - 1:
                    trim_heap()
        finally:
            is_left.set()
            while thread.is_alive():  # it may be waiting for room in the queue
                _emptied(waiting)
                thread.join(0.01)

    @property
    def problem(self) -> str | None:
        """What could not be decoded or was never recorded, in one line; None for a video without a fault."""
        parts = []
        if self.leading:
            parts.append(
                f"it begins between key frames, so that its first {counted(self.leading, 'frame')} cannot be "
                "decoded and frame 0 is the "
                "one after them"
            )
        if self.missing:
            count = sum(len(each) for each in self.missing)
            parts.append(f"{counted(count, 'frame')} could not be decoded ({ranges_as_text(self.missing)})")
        if self.damaged:
            ranges = [range(each, each + 1) for each in self.damaged]
            parts.append(f"{counted(len(ranges), 'is', 'are')} decoded in part ({ranges_as_text(ranges)})")
        if self.jumps:
            ranges = [range(each, each + 1) for each in self.jumps]
            parts.append(
                f"its time stamps jump before {ranges_as_text(ranges)}, where frames were lost or never recorded"
            )
        if self.uncertain_from is not None:
            parts.append(f"frame numbers from {self.uncertain_from} on may be too low")
        if self.cut_after is not None:
            parts.append(f"it ends with frame {self.cut_after}, before the end that it states")
        if not parts:
            return None
        # Where the camera dropped frames nothing is damaged, and the source is no better.
        is_damaged = self.missing or self.damaged or self.uncertain_from is not None or self.cut_after is not None
        return f"{self.path}: {' and '.join(parts)}." + (" Restore the file from its source." if is_damaged else "")

    def _decode(self, waiting: "queue.Queue[Any]", is_left: threading.Event) -> None:
        """The work of the thread: frames as (number, seconds, future image), then None or what went wrong."""
        try:
            with ThreadPoolExecutor(min(CONVERTERS, os.cpu_count() or 1), "convert") as pool:
                for index, seconds, frame in self._frames():
                    if is_left.is_set():
                        return
                    waiting.maxsize = self._room()  # this thread alone puts frames into it, the first one now
                    image: Future[Image] = pool.submit(self._converted, index, frame)
                    _put(waiting, (index, seconds, image), is_left)
            _put(waiting, None, is_left)
        except BaseException as error:  # raised in the thread that iterates
            _put(waiting, error, is_left)

    def _frames(self) -> Iterator[tuple[int, float, Any]]:
        """Number, time and decoded frame, not converted to RGB, of the selected frames."""
        with opened(self.path) as (container, stream):
            stream.thread_type = "AUTO"  # the default, slice threading, leaves most decoders on one core
            is_avi = container.format.name == "avi"  # its time stamps only count packets
            numbers = FrameNumbers(has_clock=not is_avi)
            self.fps = float(stream.average_rate) if stream.average_rate else np.nan
            self.expected = _expected_frames(container, stream)
            try:
                for frame, index in _decoded(container, stream, numbers, self._clocked):
                    if self.stop is not None and index >= self.stop:
                        return
                    if self.size is None:
                        self.size = upright_size(frame)
                        self._check_size(*self.size)
                    if index >= self.start and (index - self.start) % self.step == 0:
                        seconds = None if is_avi else frame.time
                        yield index, self._time(index) if seconds is None else float(seconds), frame
                is_cut = _lacks_end_mark(self.path, container.format.name)
                is_short = "matroska" in container.format.name and ends_within_an_element(self.path)
                numbers.end(stream.frames, _stated_end(container, stream), is_cut=is_cut, is_short=is_short)
                self.frames = numbers.next
            finally:
                self.missing, self.damaged = numbers.missing, numbers.damaged
                self.uncertain_from, self.jumps = numbers.uncertain_from, numbers.jumps
                self.cut_after, self.leading = numbers.cut_after, numbers.leading
        if not numbers.next:
            raise DataError(f"{self.path}: expected a video, got one without a frame that can be decoded.")

    def _room(self) -> int:
        """How many frames may wait: a frame is held whole until it is converted, whatever is cut out of it."""
        assert self.size is not None
        return min(self._ahead, max(self._least_ahead, MAX_AHEAD // (3 * self.size[0] * self.size[1])))

    def _check_size(self, height: int, width: int) -> None:
        if height * width > MAX_PIXELS:
            raise DataError(
                f"{self.path}: expected frames of at most {MAX_PIXELS} pixels, got {width}x{height}. Scale the video down."
            )

    def _time(self, index: int) -> float:
        """Seconds by the frame rate, for files without a clock."""
        return index / self.fps

    def _converted(self, index: int, frame: Any) -> Image:
        began = time.perf_counter()
        size = upright_size(frame)
        if size != self.size and self.size is not None:
            raise DataError(
                f"{self.path}: frame {index}: expected {self.size[1]}x{self.size[0]} as the first frame has, got "
                f"{size[1]}x{size[0]}. Convert the video to one size."
            )
        image = upright_rgb(frame, self.crop)
        self._clocked(time.perf_counter() - began)
        return image

    def _clocked(self, seconds: float) -> None:
        with self._lock:
            self.seconds += seconds


def frames_to(last: int, frames: Iterable[VideoFrame], needed: str) -> Iterator[VideoFrame]:
    """The frames of a video up to number `last`. Raises DataError, which begins with `needed`, where it ends before."""
    end = 0
    for frame in frames:
        yield frame
        end = frame.index + 1
        if end > last:
            return
    raise DataError(f"{needed}, but the video ends after {end} frames. Give the video that the poses are of.")


def video_info(path: Path | str) -> VideoInfo:
    """Size, number of frames, mean rate and fingerprint of a video; the file is read once, but only one frame is decoded.

    Raises DataError for what is no video.
    """
    path = Path(path)
    with opened(path) as (container, stream):
        numbers = FrameNumbers()
        frame = next((frame for frame, _ in _decoded(container, stream, numbers, lambda _: None)), None)
        if frame is None:
            raise DataError(f"{path}: expected a video, got one without a frame that can be decoded.")
        height, width = upright_size(frame)
        fps = float(stream.average_rate) if stream.average_rate else np.nan
    with opened(path) as (container, stream):
        packets = sum(1 for packet in _packets(container, stream) if packet.size and not packet.is_discard)
    frames = packets - numbers.leading
    return VideoInfo(str(path), fingerprint(path), height, width, frames, fps)


def frame_times(path: Path | str) -> npt.NDArray[np.float64]:
    """Presentation time in seconds of each frame, as a VideoReader tells it: (F,). At most the first frame is decoded.

    NaN where the file has neither times nor a rate. Raises DataError for what is no video.
    """
    path = Path(path)
    with opened(path) as (container, stream):
        fps = float(stream.average_rate) if stream.average_rate else np.nan
        packets = (packet for packet in _packets(container, stream) if packet.size and not packet.is_discard)
        kept = [(packet.pts, packet.is_keyframe) for packet in packets]
        stamps = [pts for pts, _ in kept]
        if container.format.name == "avi" or None in stamps:
            return np.arange(len(stamps)) / fps
        leading = 0 if not kept or kept[0][1] else _leading(path)
        return np.sort(np.array(stamps, np.float64))[leading:] * float(stream.time_base)


def _leading(path: Path) -> int:
    """How many frames a video has before the first that can be decoded."""
    numbers = FrameNumbers()
    with opened(path) as (container, stream):
        next(_decoded(container, stream, numbers, lambda _: None), None)
    return numbers.leading


def fingerprint(path: Path | str) -> str:
    """32 hexadecimal digits of a file's content, the same wherever it lies: of its size and three samples of it.

    Raises DataError where it cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode())
            for place in (0, max(0, (size - SAMPLED) // 2), max(0, size - SAMPLED)):
                file.seek(place)
                digest.update(file.read(SAMPLED))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error
    return digest.hexdigest()[:32]


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """An open container and its first video stream. Raises DataError for what is no regular file or no video."""
    try:
        if not path.is_file():
            raise OSError("not a regular file" if path.exists() else "no such file")
        with _open(path) as container:
            pictures = [stream for stream in container.streams.video if not _is_cover(stream)]
            if not pictures:
                raise DataError(f"{path}: expected a video, got a file without any picture.")
            yield container, pictures[0]
    except (av.FFmpegError, OSError, UnicodeDecodeError) as error:  # PyAV reads names in a file as UTF-8
        said = getattr(error, "strerror", None) or str(error)  # which has a number of FFmpeg's
        reason = " ".join(said.split())
        raise DataError(
            f"{path}: cannot be read as a video after 0 frames ({reason}). Check the path, and that it plays."
        ) from error


def _open(path: Path) -> Any:
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
    try:
        return av.open(f"file:{path.absolute()}", options=options)
    except av.error.ArgumentError as error:  # what FFmpeg says of a format that is not among them
        raise DataError(
            f"{path}: expected a video, got a file of another format, such as a list of other files (a playlist). Name the "
            "video itself, or convert it to mp4."
        ) from error


def _decoded(container: Any, stream: Any, numbers: FrameNumbers, clocked: Any) -> Iterator[tuple[Any, int]]:
    """Every frame that can be decoded, with its number; errors are registered in `numbers`."""
    began = time.perf_counter()
    for packet in _packets(container, stream, numbers):
        if packet.size:
            numbers.take_packet(
                packet.pts, is_hidden=packet.is_discard, is_corrupt=packet.is_corrupt, is_key=packet.is_keyframe
            )
        try:
            frames = packet.decode()  # the last packet is empty and flushes what the decoder holds back
        except (av.FFmpegError, EOFError):
            numbers.take_failure()
            continue
        for frame in frames:
            index = numbers.number(frame.pts, is_corrupt=frame.is_corrupt)
            clocked(time.perf_counter() - began)
            if index is not None:
                yield frame, index
            began = time.perf_counter()


def _packets(container: Any, stream: Any, numbers: FrameNumbers | None = None) -> Iterator[Any]:
    """Packets up to the end, or up to where the container cannot be read any further; then the flushing one."""
    try:
        yield from container.demux(stream)
    except av.FFmpegError:  # what follows is lost: `problem` names the missing frames
        if numbers is not None:
            numbers.take_failure()
        yield _flush(stream)


def _flush(stream: Any) -> Any:
    """The empty packet that makes a decoder give what it holds back."""
    packet = av.Packet()
    packet.stream = stream
    return packet


def upright_size(frame: Any) -> tuple[int, int]:
    """(height, width) of a frame as it is shown."""
    return (frame.width, frame.height) if frame.rotation % 180 else (frame.height, frame.width)


def _expected_frames(container: Any, stream: Any) -> int | None:
    """The container's number of frames, or its duration times its mean rate."""
    if stream.frames:
        return int(stream.frames)
    if container.duration is None or not stream.average_rate:
        return None
    frames: float = float(container.duration) / av.time_base * float(stream.average_rate)
    return round(frames)


def _stated_end(container: Any, stream: Any) -> float | None:
    """The time stamp at which a Matroska or WebM video states that it ends, which has no number of frames; None of others.

    Its own mark counts, since sound may last longer, and the file's, since a mark may have been copied from a longer one.
    """
    mark = STATED.fullmatch(stream.metadata.get("DURATION", ""))
    if "matroska" not in container.format.name or mark is None or container.duration is None:
        return None
    hours, minutes, seconds = (float(part) for part in mark.groups())
    return float(min(3600 * hours + 60 * minutes + seconds, container.duration / av.time_base) / stream.time_base)


def _lacks_end_mark(path: Path, format_name: str) -> bool:
    """Whether a file of a format that ends with a mark has none at its end, but for bytes that only fill it up."""
    mark = END_MARKS.get(format_name, b"")
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LONGEST_FILLING))
        return not file.read().rstrip(b"\0\xff").endswith(mark)


def _is_cover(stream: Any) -> bool:
    """Whether a stream is one picture beside sound, such as the cover of a record."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _put(waiting: "queue.Queue[Any]", item: Any, is_left: threading.Event) -> None:
    while not is_left.is_set():
        try:
            waiting.put(item, timeout=0.1)
            return
        except queue.Full:  # no room yet; the next round also sees whether the reader has stopped
            continue


def _emptied(waiting: "queue.Queue[Any]") -> None:
    while True:
        try:
            waiting.get_nowait()
        except queue.Empty:
            return
