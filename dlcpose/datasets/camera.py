"""Read the newest frame of a camera or stream; frames that arrive while the last one is processed are skipped."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import av
import numpy as np

from dlcpose.datasets.frame_conversion import upright_rgb
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import Image

NO_WAITING = {"fflags": "nobuffer", "flags": "low_delay"}
KEPT = 100_000  # latencies, so that memory does not grow


@dataclass(frozen=True)
class CameraFrame:
    """A frame of a camera: its number among those that arrived, seconds since the first, (H, W, 3) uint8 RGB."""

    index: int
    time: float
    image: Image


@dataclass(frozen=True)
class Latency:
    """Seconds from a frame's arrival to the request for the next one: median, 99th percentile; number of skipped frames."""

    p50: float
    p99: float
    skipped: int


def without_credentials(source: str) -> str:
    """The address of a camera without user, password and query, to be printed and stored; anything else as it is.

    A password that is not escaped may hold any character: all up to the last @ goes, at worst with the host.
    """
    scheme, mark, rest = source.partition("://")
    if not mark:
        return source
    address, _, query = rest.partition("?")
    if "@" in query and "/" not in address:  # the question mark is of the password
        address = rest.rpartition("@")[2].partition("?")[0]
    return scheme + mark + address.rpartition("@")[2]


class CameraReader:
    """Iterates over the newest frames of a source that PyAV can open, until it ends or the iteration is stopped.

    source: a device or an address (`/dev/video0`, `rtsp://...`, `tcp://...`, `udp://...`). format: of FFmpeg's input,
    such as v4l2, where FFmpeg cannot infer it. options: FFmpeg's. timeout: seconds without a frame that end the stream.
    name: the source as it may be printed and stored, without a password.
    Unlike a video's, frame numbers have gaps where frames were skipped. Raises DataError where it cannot be opened, has
    no picture, breaks off with an error, falls silent or goes on with frames of another size.
    """

    def __init__(
        self, source: str, *, format: str | None = None, options: Mapping[str, str] | None = None, timeout: float = 10.0
    ) -> None:
        self.source, self.format, self.timeout = source, format, timeout
        self.name = without_credentials(source)
        self.options = {**NO_WAITING, **(options or {})}
        self._changed = threading.Condition()
        self._newest: tuple[int, float, object] | None = None  # number, when it arrived, frame
        self._arrived = 0
        self._error: BaseException | None = None
        self._is_over = False
        self._latencies: list[float] = []
        self._given = 0

    def __iter__(self) -> Iterator[CameraFrame]:
        thread = threading.Thread(target=self._receive, name="camera", daemon=True)
        thread.start()
        first: float | None = None
        size: tuple[int, ...] | None = None
        try:
            while (newest := self._next()) is not None:
                number, arrived, frame = newest
                first = arrived if first is None else first
                image = upright_rgb(frame)
                size = image.shape if size is None else size
                if image.shape != size:
                    raise DataError(
                        f"{self.name}: frame {number}: expected {size[1]}x{size[0]} as the first frame has, got "
                        f"{image.shape[1]}x{image.shape[0]}. Begin a session of its own with frames of that size."
                    )
                self._given += 1
                yield CameraFrame(number, arrived - first, image)
                if len(self._latencies) < KEPT:
                    self._latencies.append(time.perf_counter() - arrived)
        finally:
            with self._changed:
                self._is_over = True
            thread.join(self.timeout)

    def latency(self) -> Latency:
        """Latency of the frames so far, NaN before the first has been processed."""
        skipped = self._arrived - self._given
        if not self._latencies:
            return Latency(np.nan, np.nan, skipped)
        p50, p99 = np.percentile(self._latencies, [50, 99])
        return Latency(float(p50), float(p99), skipped)

    def _next(self) -> tuple[int, float, object] | None:
        """The newest frame that has not been returned yet, waited for; None at the end."""
        with self._changed:
            is_there = self._changed.wait_for(lambda: self._newest is not None or self._is_over, self.timeout)
            newest, self._newest = self._newest, None
            if newest is not None:
                return newest
            if self._error is not None:
                raise self._error
        if not is_there:
            raise DataError(f"{self.name}: no frame came for {self.timeout:g} s. Check that the camera sends.")
        if not self._arrived:
            raise DataError(f"{self.name}: expected a camera or stream, got one without a frame.")
        return None

    def _receive(self) -> None:
        """The work of the thread: decode everything, keep the newest."""
        error: BaseException | None = None
        try:
            with av.open(
                self.source, format=self.format, options=self.options, timeout=(self.timeout, self.timeout)
            ) as container:
                if not container.streams.video:
                    raise DataError(f"{self.name}: expected a camera or stream with a picture, got one without.")
                stream = container.streams.video[0]
                # Threads for frames would delay the output by as many frames as there are threads.
                stream.thread_type = "SLICE"
                for frame in container.decode(stream):
                    with self._changed:
                        if self._is_over:
                            return
                        self._newest = (self._arrived, time.perf_counter(), frame)
                        self._arrived += 1
                        self._changed.notify()
        except DataError as reason:
            error = reason
        except (av.FFmpegError, OSError, ValueError) as reason:  # ValueError: of a format that FFmpeg does not know
            if not self._arrived or not isinstance(reason, av.EOFError):
                text = " ".join(str(reason).replace(self.source, self.name).split())
                error = DataError(
                    f"{self.name}: cannot be read as a camera or stream after {counted(self._arrived, 'frame')} "
                    f"({text}). Check the "
                    "address, and name its format where FFmpeg cannot tell (v4l2, dshow, avfoundation)."
                )
        except BaseException as reason:  # is raised where the frames are taken: a thread would only print it
            error = reason
        finally:
            with self._changed:
                self._error, self._is_over = error, True
                self._changed.notify()
