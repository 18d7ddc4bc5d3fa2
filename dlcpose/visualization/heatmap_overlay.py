"""Where a model looks, as warmth over a faded image."""

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from dlcpose.structures.sample import Floats, Image

FADED = 0.45  # of the image's own brightness, where nothing is looked at
STRONGEST = 0.8  # opacity of the place that is looked at most


def draw_heat(image: Image, shares: Floats) -> Image:
    """A grey copy of the image under the warmth of a map, whose highest cell is the warmest.

    image: (H, W, 3) uint8. shares: (h, w), cells that cover the whole image; negative and NaN count as 0.
    """
    height, width = image.shape[:2]
    clean = np.clip(np.nan_to_num(shares.astype(np.float32)), 0, None)
    # OpenCV's resize takes cells for what they are: squares whose centres lie half a cell from the border.
    warmth = np.clip(cv2.resize(clean, (width, height), interpolation=cv2.INTER_LINEAR), 0, None)
    highest = float(clean.max(initial=0.0))
    warmth = np.minimum(warmth / highest, 1.0) if highest > 0 else warmth
    colors: npt.NDArray[np.float64] = mpl.colormaps["inferno"](warmth)[..., :3] * 255
    opacity = STRONGEST * np.sqrt(warmth)[..., None]  # the root: faint places are to be seen too
    grey = image.mean(axis=-1, keepdims=True) * FADED
    mixed: Image = np.round(grey * (1 - opacity) + colors * opacity).astype(np.uint8)
    return mixed
