"""A heatmap drawn over a faded image."""

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from dlcpose.structures.sample import Floats, Image

BRIGHTNESS = 0.45  # of the gray image below the heatmap
MAX_OPACITY = 0.8  # of the heatmap's highest cell


def draw_heatmap(image: Image, heatmap: Floats) -> Image:
    """A gray copy of the image under a heatmap in matplotlib's `inferno`, scaled to its highest cell: (H, W, 3) uint8.

    image: (H, W, 3) uint8. heatmap: (h, w), cells that cover the whole image; negative and NaN count as 0.
    """
    height, width = image.shape[:2]
    clean = np.clip(np.nan_to_num(heatmap.astype(np.float32)), 0, None)
    # OpenCV's resize treats cells as squares, whose centers lie half a cell from the border.
    values = np.clip(cv2.resize(clean, (width, height), interpolation=cv2.INTER_LINEAR), 0, None)
    highest = float(clean.max(initial=0.0))
    values = np.minimum(values / highest, 1.0) if highest > 0 else values
    colors: npt.NDArray[np.float64] = mpl.colormaps["inferno"](values)[..., :3] * 255
    opacity = MAX_OPACITY * np.sqrt(values)[..., None]  # the root makes low values visible
    gray = image.mean(axis=-1, keepdims=True) * BRIGHTNESS
    mixed: Image = np.round(gray * (1 - opacity) + colors * opacity).astype(np.uint8)
    return mixed
