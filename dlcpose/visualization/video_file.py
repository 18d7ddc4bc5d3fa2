"""Write images as a video file."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from dlcpose.structures.sample import Image


def write_video(path: Path, images: Iterable[Image], *, fps: float) -> int:
    """Write images (H, W, 3) uint8 RGB of one size as an mp4 and return how many there were.

    H.264 where PyAV has it, else MPEG-4. Raises ValueError for images of different sizes, or none.
    """
    count = 0
    with av.open(str(path), "w") as container:
        stream = None
        for image in images:
            if stream is None:
                stream = _open_stream(container, image.shape[:2], fps)
            if image.shape[:2] != (stream.height, stream.width):
                raise ValueError(
                    f"{path}: expected images of {stream.width}x{stream.height} in one video, "
                    f"got {image.shape[1]}x{image.shape[0]} as number {count}."
                )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            count += 1
        if stream is None:
            raise ValueError(f"{path}: a video needs at least one image.")
        container.mux(stream.encode(None))
    return count


def _open_stream(container: av.container.OutputContainer, size: tuple[int, int], fps: float) -> av.VideoStream:
    has_h264 = "libx264" in av.codecs_available
    rate = Fraction(fps).limit_denominator(1001)
    stream = container.add_stream("libx264" if has_h264 else "mpeg4", rate=rate)
    stream.height, stream.width = size
    # yuv420p, which every player reads, needs even sides in H.264.
    even = size[0] % 2 == 0 and size[1] % 2 == 0
    stream.pix_fmt = "yuv420p" if even or not has_h264 else "yuv444p"
    stream.options = {"crf": "18", "preset": "fast"} if has_h264 else {}
    if not has_h264:
        stream.bit_rate = 8 * size[0] * size[1] * max(1, round(fps)) // 4
    return stream
