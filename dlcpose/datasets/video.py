"""Read the frames of a video file."""

from collections.abc import Iterator
from pathlib import Path

import av

from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import Image


def read_video(path: Path) -> Iterator[Image]:
    """The frames of the first video stream, (H, W, 3) uint8 RGB each, as they are stored: a rotation tag is not followed.

    Raises DataError for a file that cannot be read, has no video, or breaks off.
    """
    number = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path}: expected a video, got a file without any picture.")
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
                number += 1
    except (av.FFmpegError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot be read as a video after {number} frames ({reason}). Check the path, and that it plays."
        ) from error
    if not number:
        raise DataError(f"{path}: expected a video, got one without a frame.")
