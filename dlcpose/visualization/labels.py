"""Short texts on pictures: light letters with a dark outline, legible on any background."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from dlcpose.structures.printable import printable
from dlcpose.structures.sample import Image

Array = npt.NDArray[Any]
Color = tuple[int, int, int]
RIM = (15, 15, 15)


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """The font of all pictures, of a height in pixels: DejaVu Sans, which has Latin, Greek, Cyrillic and more letters.

    matplotlib brings it along; Pillow's own font has Latin letters only, and draws an empty box for any other.
    """
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def draw_text(picture: Image, text: str, corner: tuple[int, int], *, size: int, color: Color) -> None:
    """Write a line of text into the picture, its top left at `corner` (x, y), moved so that all of it is inside.

    A name from a file may hold line ends, which Pillow cannot draw in one line: they are written as `\\n`.
    """
    letters, opacity = _rendered(text, size, color)
    height, width = min(letters.shape[0], picture.shape[0]), min(letters.shape[1], picture.shape[1])
    left = min(max(corner[0], 0), picture.shape[1] - width)
    top = min(max(corner[1], 0), picture.shape[0] - height)
    window = picture[top : top + height, left : left + width]
    share = opacity[:height, :width]
    window[:] = np.round(share * letters[:height, :width] + (1 - share) * window)


def text_size(text: str, size: int) -> tuple[int, int]:
    """Width and height in pixels that `draw_text` takes."""
    letters, _ = _rendered(text, size, RIM)
    return letters.shape[1], letters.shape[0]


@lru_cache(maxsize=512)
def _rendered(text: str, size: int, color: Color) -> tuple[Array, Array]:
    """The letters (h, w, 3) and their opacity (h, w, 1) in [0, 1]."""
    text, font, rim = printable(text), load_font(size), max(1, round(size / 9))
    left, top, right, bottom = font.getbbox(text, stroke_width=rim)
    canvas = PillowImage.new("RGBA", (round(right - left) + 2, round(bottom - top) + 2), (*RIM, 0))
    ImageDraw.Draw(canvas).text(
        (1 - left, 1 - top), text, (*color, 255), font, stroke_width=rim, stroke_fill=(*RIM, 255)
    )
    drawn = np.asarray(canvas, np.float32)
    return drawn[..., :3], drawn[..., 3:] / 255
