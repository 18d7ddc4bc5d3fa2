"""Images as a video: of exactly their size, or so that every browser plays it."""

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

FINE = Fraction(1, 90000)  # seconds: fine enough for any frame rate, the usual one of H.264
MAX_SIDE = 16_384  # px of an H.264 picture
TRIM_EVERY = 20  # frames: one or two milliseconds for each, of some forty
HALF_SIZE_COLORS, WHOLE_COLORS = "yuv420p", "yuv444p"


def write_video(path: Path, images: Iterable[Image], *, fps: float) -> int:
    """Write images (H, W, 3) uint8 RGB of one size as a video of that size, and return how many there were.

    For images that are labeled: a pixel stays where it is. Odd sides take whole-size color planes, which not every browser
    plays. Raises ValueError for images of unlike size, DataError for none.
    """
    step = 1 / _rate(fps)
    frames = ((number * step, image) for number, image in enumerate(images))
    with av.open(str(path), "w") as container:
        return _encode(path, container, frames, fps=fps, crf=18, time_base=step)


def write_browser_video(
    path: Path, frames: Iterable[tuple[float, Image]], *, fps: float, crf: int = 20, comment: str = ""
) -> int:
    """Write images shown from a time on as an mp4 that every browser plays, and return how many there were.

    H.264 with half-size color planes, its index in front. frames: seconds, rising, and (H, W, 3) uint8 RGB of one size;
    the first is shown from time 0. A side of an odd number of pixels gets one more, a copy of the last: half-size color
    planes need it. fps: nominal frame rate, for players. crf: 0 (no loss) to 51. comment: kept in the file's metadata.
    The file takes its name once it is whole. Raises ValueError for images of unlike size, DataError for none, and where
    the file cannot be written.
    """
    even = ((seconds, _pad_to_even(image)) for seconds, image in frames)
    # faststart: the index of the file is moved to its beginning, so that playing starts while it is loaded.
    options = {"movflags": "faststart"}
    with atomic_output(path) as partial, av.open(str(partial), "w", format="mp4", options=options) as container:
        if comment:
            container.metadata["comment"] = comment
        return _encode(path, container, even, fps=fps, crf=crf, time_base=FINE)


def _encode(
    path: Path,
    container: Any,
    frames: Iterable[tuple[float | Fraction, Image]],
    *,
    fps: float,
    crf: int,
    time_base: Fraction,
) -> int:
    """One frame at a time is held. time_base: seconds, of which the frames' times are multiples in the file."""
    count, start, stream = 0, Fraction(0), None
    for seconds, image in frames:
        if stream is None:
            start, stream = Fraction(seconds), _open_stream(container, image, fps, crf, time_base)
        if image.shape[:2] != (stream.height, stream.width):
            raise ValueError(
                f"{path}: expected images of {stream.width}x{stream.height} in one video, "
                f"got {image.shape[1]}x{image.shape[0]} as number {count}."
            )
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.time_base, frame.pts = time_base, round((Fraction(seconds) - start) / time_base)
        container.mux(stream.encode(frame))
        count += 1
        if count % TRIM_EVERY == 0:
            trim_heap()
    if stream is None:
        raise DataError(f"{path}: expected frames to write, got none. Check that the video plays where it is drawn.")
    container.mux(stream.encode(None))
    return count


def _open_stream(container: Any, image: Image, fps: float, crf: int, time_base: Fraction) -> Any:
    stream = container.add_stream("libx264", rate=_rate(fps))
    stream.codec_context.time_base = time_base
    stream.height, stream.width = image.shape[:2]
    stream.pix_fmt = WHOLE_COLORS if stream.height % 2 or stream.width % 2 else HALF_SIZE_COLORS
    stream.options = {"crf": str(crf), "preset": "veryfast"}
    return stream


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


def _pad_to_even(image: Image) -> Image:
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return np.pad(image, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
