"""Rendered videos whose frames carry their number as a bar code."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dlcpose.datasets.video import VideoFrame

BITS = 10
CLOCK = Fraction(1, 1000)


def bar_code(
    number: int, size: tuple[int, int] = (48, 80), color: tuple[int, int, int] = (255, 255, 255)
) -> np.ndarray:
    """An image of (height, width) with a bar for each bit, the lowest on the left, colored where it is 1."""
    image = np.zeros((*size, 3), np.uint8)
    for bit, columns in enumerate(np.array_split(np.arange(size[1]), BITS)):
        if number >> bit & 1:
            image[:, columns] = color
    return image


def number_of(image: np.ndarray) -> int:
    """The number that an image shows."""
    bars = [image[:, columns[1:-1]].mean() for columns in np.array_split(np.arange(image.shape[1]), BITS)]
    return sum(1 << bit for bit, value in enumerate(bars) if value > 64)


def as_frames(images: Iterable[np.ndarray], missing: Collection[int] = ()) -> Iterator[VideoFrame]:
    """The images as frames of a video at 25 frames/s, without those that could not be decoded."""
    for number, image in enumerate(images):
        if number not in missing:
            yield VideoFrame(number, number / 25, image)


def write_numbered(
    path: Path,
    frames: int = 60,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: tuple[int, int] = (48, 80),
    b_frames: int | None = 2,
    key_every: int = 12,
    milliseconds: Sequence[int] | None = None,
    image_of: Callable[[int], np.ndarray] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of numbered frames at 25 frames/s, or shown at the given milliseconds."""
    clock = Fraction(1, 25) if milliseconds is None else CLOCK
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt, stream.codec_context.gop_size = pixels, key_every
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if milliseconds is not None:
            stream.codec_context.time_base = stream.time_base = clock
        if rotation:
            if not hasattr(stream.codec_context, "set_display_rotation"):
                pytest.skip("this PyAV reads turned videos, but writes none: it takes version 18")
            stream.set_display_rotation(rotation)
        for number in range(frames):
            image = bar_code(number, size) if image_of is None else image_of(number)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number if milliseconds is None else milliseconds[number], clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_planes(path: Path, planes: Sequence[int], *, colorspace: int, color_range: int, frames: int = 3) -> Path:
    """A lossless video of one color, given as Y, U and V, with the tags that say what they mean."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = colorspace, color_range
        for number in range(frames):
            frame = av.VideoFrame(48, 32, "yuv444p")
            for plane, value in zip(frame.planes, planes, strict=True):
                plane.update(bytes([value]) * (plane.line_size * plane.height))
            frame.colorspace, frame.color_range, frame.pts = colorspace, color_range, number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
