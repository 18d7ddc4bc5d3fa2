"""Single frames of a video file by their number, for labels that name frames of videos."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from dlcpose.datasets.frame_conversion import upright_rgb
from dlcpose.datasets.video import VideoReader, opened, upright_size
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import Image

PROBED = 64  # frames at the beginning whose time stamps are compared with those of the packets
HIDING = frozenset({"vp8"})  # codecs with packets that show nothing, anywhere in a video


class VideoFrames:
    """Random access to the frames of a video by their number, the same as VideoReader's.

    The packets of the file are read once, without decoding them: the n-th time stamp is that of frame n, and a frame is
    decoded from the key frame before it until one has that stamp. Where that is not reliable (no time stamps, hidden
    frames, another frame than expected) the video is decoded from its beginning for every frame. size: (height, width)
    of the upright frames. frames: how many there are, at most. Raises DataError for what is no video.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with opened(self.path) as (container, stream):
            packets = _packets(container, stream)
        with opened(self.path) as (container, stream):
            size, first = _probe(container, stream)
            is_hiding = stream.codec_context.name in HIDING
        if size is None:
            raise DataError(f"{self.path}: expected a video, got one without a frame that can be decoded.")
        self.size = size
        self.frames = len(packets)
        times = sorted(time for time, _ in packets if time is not None)
        is_counted = len(set(times)) == len(packets) and first == times[: len(first)] and not is_hiding
        self._times: npt.NDArray[np.int64] | None = np.array(times, np.int64) if is_counted else None
        self._keys = np.array(sorted(time for time, is_key in packets if is_key and time is not None), np.int64)

    def read(self, index: int) -> Image:
        """Frame `index`: (H, W, 3) uint8 RGB. Raises DataError where there is none, or it cannot be decoded."""
        if not 0 <= index < self.frames:
            raise DataError(f"{self.path}: expected a frame below {self.frames}, got {index}. It may be another video.")
        return self.read_several([index])[0]

    def read_several(self, indices: Sequence[int]) -> list[Image]:
        """Frames of rising numbers, decoded in one go: for a clip. Raises DataError as `read`."""
        if not 0 <= indices[0] <= indices[-1] < self.frames:
            raise DataError(f"{self.path}: expected frames below {self.frames}, got {indices[0]} to {indices[-1]}.")
        images = None if self._times is None else self._sought([int(self._times[index]) for index in indices])
        return self._from_beginning(indices) if images is None else images

    def _sought(self, times: list[int]) -> list[Image] | None:
        """The frames with these rising time stamps, decoded from the key frame before the first; None where it errs.

        Where the last frame that was read lies between the two, decoding goes on behind it: frames that are read in their
        order are decoded once each. Some files have key frames that need what came before them (parts of several recordings
        joined without encoding them again): decoders go on with green or grey frames, so any error on the way counts.
        """
        place = int(np.searchsorted(self._keys, times[0], side="right")) - 1
        if place < 0:
            return None
        key = int(self._keys[place])
        decoding = _LEFT.take(self, key, times[0])
        images: list[Image] = []
        try:
            decoding = decoding or _begun_at(self, key)
            for frame in decoding.frames:
                if frame.is_corrupt or frame.pts is None or frame.pts > times[len(images)]:
                    break
                if frame.pts == times[len(images)]:
                    images.append(upright_rgb(frame))
                if len(images) == len(times):
                    decoding.time = frame.pts
                    _LEFT.put(decoding)
                    return images
        except (av.FFmpegError, EOFError):
            pass  # `read_several` then decodes from the beginning, and refuses what cannot be decoded there either
        if decoding is not None:
            decoding.files.close()
        return None

    def _from_beginning(self, indices: Sequence[int]) -> list[Image]:
        found = {
            frame.index: frame.image
            for frame in VideoReader(self.path, start=indices[0], stop=indices[-1] + 1)
            if frame.index in indices
        }
        if missing := [index for index in indices if index not in found]:
            raise DataError(f"{self.path}: frame {missing[0]} cannot be decoded. Restore the file from its source.")
        return [found[index] for index in indices]


@dataclass
class _Decoding:
    """A decoder of a video that stands behind the frame with a time stamp."""

    video: VideoFrames
    files: ExitStack
    frames: Iterator[Any]
    time: int


def _begun_at(video: VideoFrames, key: int) -> _Decoding:
    with ExitStack() as files:
        container, stream = files.enter_context(opened(video.path))
        stream.codec_context.options = {"err_detect": "explode"}
        container.seek(key, stream=stream)
        return _Decoding(video, files.pop_all(), container.decode(stream), key)


class _LastDecoding:
    """The decoder that was left last, of all videos: at most one file stays open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decoding: _Decoding | None = None

    def take(self, video: VideoFrames, key: int, time: int) -> _Decoding | None:
        """The decoder, if it will come to this time stamp of the video, and not sooner from the key frame."""
        with self._lock:
            last = self._decoding
            if last is None or last.video is not video or not key <= last.time < time:
                return None
            self._decoding = None
            return last

    def put(self, decoding: _Decoding | None) -> None:
        with self._lock:
            last, self._decoding = self._decoding, decoding
        if last is not None:
            last.files.close()


_LEFT = _LastDecoding()
# A child process would share the place in the file with its parent, and lacks the decoder's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _LEFT.put(None))


def _packets(container: Any, stream: Any) -> list[tuple[int | None, bool]]:
    """(time stamp, whether it begins anew) of every packet that shows a frame, up to where the file can be followed."""
    found: list[tuple[int | None, bool]] = []
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                found.append((packet.pts, packet.is_keyframe))
    except av.FFmpegError:
        pass  # the file is damaged here: its frames end before, and `read` refuses later ones by their number
    return found


def _probe(container: Any, stream: Any) -> tuple[tuple[int, int] | None, list[int | None]]:
    """The size of the first frame, None where there is none, and the time stamps of the first frames."""
    size, times = None, []
    try:
        for frame in container.decode(stream):
            size = size or upright_size(frame)
            times.append(frame.pts)
            if len(times) == PROBED:
                break
    except (av.FFmpegError, EOFError):
        times.append(None)  # no time stamp of this kind is trusted: every frame is then decoded from the beginning
    return size, times
