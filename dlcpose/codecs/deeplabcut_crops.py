"""Crops around boxes as DeepLabCut 3 cuts them: whole pixels, black beyond the edges, resized by OpenCV."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Region:
    """The part of an image that a crop shows: columns left to right and rows top to bottom, and the black beyond them."""

    left: int
    top: int
    right: int
    bottom: int
    pad_left: int
    pad_top: int
    pad_right: int
    pad_bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) with the black."""
        height = self.bottom - self.top + self.pad_top + self.pad_bottom
        return height, self.right - self.left + self.pad_left + self.pad_right

    def crop_to_frame(self, size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """The (2, 3) map from a crop of (height, width) to the image; corners of pixels are its fixed points there."""
        height, width = self.size
        return np.array(
            [
                [width / size[1], 0.0, self.left - self.pad_left],
                [0.0, height / size[0], self.top - self.pad_top],
            ]
        )


def region_around(
    box: npt.NDArray[Any],
    image_size: tuple[int, int],
    size: tuple[int, int],
    *,
    margin: float = 0.0,
    with_context: bool = True,
) -> Region:
    """The region that a crop of (height, width) shows of an image of (height, width) around a box x1 y1 x2 y2.

    margin: px added on each side. with_context: grow the shorter side to the crop's aspect ratio; else what is missing to
    it is black.
    """
    sides = box[2:] - box[:2]
    center, sides = box[:2] + sides / 2, sides + 2 * margin
    aspect = size[1] / size[0]
    if with_context:
        sides = np.array([max(sides[0], sides[1] * aspect), max(sides[1], sides[0] / aspect)])
    # Python rounds half a pixel to the even one, as DeepLabCut does.
    left, top = (round(float(each)) for each in center - sides / 2)
    right, bottom = (round(float(each)) for each in center + sides / 2)
    pads = [max(0, -left), max(0, -top), max(0, right - image_size[1]), max(0, bottom - image_size[0])]
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, image_size[1]), min(bottom, image_size[0])
    width, height = max(right - left, 0), max(bottom - top, 0)
    if not with_context and width and height:
        # Half of what is missing, on each side; of a crop that is not square DeepLabCut computes it as if it were.
        beside, above = int(height - width / aspect) // 2, int(width - height * aspect) // 2
        beside, above = max(beside, 0), max(above, 0)
        pads = [pads[0] + beside, pads[1] + above, pads[2] + beside, pads[3] + above]
    return Region(left, top, left + width, top + height, *pads)


def cut(image: Image, region: Region, size: tuple[int, int]) -> Image:
    """A crop of (height, width) of an image (H, W, 3); black where the region has no pixels."""
    height, width = region.size
    if not height or not width:
        return np.zeros((*size, image.shape[2]), np.uint8)
    canvas = np.zeros((height, width, image.shape[2]), np.uint8)
    rows = slice(region.pad_top, region.pad_top + region.bottom - region.top)
    columns = slice(region.pad_left, region.pad_left + region.right - region.left)
    canvas[rows, columns] = image[region.top : region.bottom, region.left : region.right]
    resized: Image = cv2.resize(canvas, size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized
