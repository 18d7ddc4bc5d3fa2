"""Images as a video that every browser plays: H.264 with half-size color planes, its index in front."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from dlcpose.structures.atomic_files import atomic_output
from dlcpose.structures.errors import DataError
from dlcpose.structures.heap import trim_heap
from dlcpose.structures.sample import Image

TIME_BASE = Fraction(1, 90000)  # seconds: fine enough for any frame rate, the usual one of H.264

TRIM_EVERY = 20  # frames: one or two milliseconds for each, of some forty


def write_browser_video(path: Path, frames: Iterable[tuple[float, Image]], *, fps: float, crf: int = 20) -> int:
    """Write images shown from a time on as an mp4, and return how many there were.

    frames: seconds, rising, and (H, W, 3) uint8 RGB of one size; the first is shown from time 0. A side of an odd
    number of pixels gets one more, a copy of the last: half-size color planes need it. fps: nominal frame rate, for
    players. crf: 0 (no loss) to 51. One frame at a time is held; the file takes its name once it is whole. Raises
    ValueError for images of unlike size, DataError for none, and where the file cannot be written.
    """
    with atomic_output(path) as partial:
        return _encode(partial, frames, fps, crf)


def _encode(path: Path, frames: Iterable[tuple[float, Image]], fps: float, crf: int) -> int:
    count, start, stream = 0, 0.0, None
    # faststart: the index of the file is moved to its beginning, so that playing starts while it is loaded.
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        for seconds, image in frames:
            even = _pad_to_even(image)
            if stream is None:
                start, stream = seconds, _open_stream(container, even, fps, crf)
            if even.shape[:2] != (stream.height, stream.width):
                raise ValueError(
                    f"{path}: expected images of {stream.width}x{stream.height} in one video, "
                    f"got {image.shape[1]}x{image.shape[0]} as number {count}."
                )
            frame = av.VideoFrame.from_ndarray(even, format="rgb24")
            frame.time_base, frame.pts = TIME_BASE, round((seconds - start) / TIME_BASE)
            container.mux(stream.encode(frame))
            count += 1
            if count % TRIM_EVERY == 0:
                trim_heap()
        if stream is None:
            raise DataError(
                f"{path}: expected frames to write, got none. Check that the video plays where it is drawn."
            )
        container.mux(stream.encode(None))
    return count


def _open_stream(container: Any, image: Image, fps: float, crf: int) -> Any:
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.codec_context.time_base = TIME_BASE
    stream.height, stream.width = image.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.options = {"crf": str(crf), "preset": "veryfast"}
    return stream


def _pad_to_even(image: Image) -> Image:
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return np.pad(image, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
