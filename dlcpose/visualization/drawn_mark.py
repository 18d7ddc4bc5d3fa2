"""The comment in pictures and videos that dlcpose has drawn, which tells them from those to predict."""

from pathlib import Path

from dlcpose.datasets.video import opened
from dlcpose.structures.errors import DataError

MARK = "drawn by dlcpose"
BEGINNING = 512  # bytes of a picture that its comment lies in: before the pixels, which need not be decoded to see it


def is_drawn_picture(path: Path) -> bool:
    """Whether a PNG or JPEG was written by `pictures.write_picture`; False for what cannot be read."""
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(BEGINNING)
    except OSError:
        return False


def is_drawn_video(path: Path) -> bool:
    """Whether a video was written by `video.write_labeled_video`; False for what cannot be read."""
    try:
        with opened(path) as (container, _):
            return bool(container.metadata.get("comment") == MARK)
    except DataError:
        return False
