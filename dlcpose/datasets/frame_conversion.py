"""From a decoder's frame to an upright (H, W, 3) uint8 RGB array."""

import os
import threading
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from dlcpose.structures.sample import Image

_of_thread = threading.local()
# A child process has the converter of its parent, but not the threads that it waits for.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _of_thread.__dict__.pop("reformatter", None))


def upright_rgb(frame: Any, crop: tuple[int, int, int, int] | None = None) -> Image:
    """An `av.VideoFrame` as RGB, turned as its display matrix says: (H, W, 3) uint8.

    FFmpeg converts by the matrix (BT.601, BT.709, ...) and range that the frame states, by BT.601 where it states none, as
    OpenCV does for labeled frames. Alpha is dropped, gray is repeated, of 16 bits the upper 8 count.
    crop: x1 y1 x2 y2 of the upright frame, x2 and y2 excluded.
    """
    if not hasattr(_of_thread, "reformatter"):
        _of_thread.reformatter = VideoReformatter()  # reused: a new one costs a fifth of the conversion
    image = _of_thread.reformatter.reformat(frame, format="rgb24").to_ndarray()
    turned = turn(image, display_matrix(frame))
    if crop is not None:
        x1, y1, x2, y2 = crop
        turned = turned[y1:y2, x1:x2]
    return np.ascontiguousarray(turned)


def turn(image: Image, matrix: tuple[int, int, int, int] | None) -> Image:
    """An image as its display matrix (a b; c d) shows it: a view of it, turned by quarters and mirrored.

    A pixel (x, y) is shown at (a·x + c·y, b·x + d·y), moved so that the image begins at (0, 0). Anything but quarters and
    mirrors leaves the image as it is stored, as players do.
    Source: FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX; ISO/IEC 14496-12, 6.2.2.
    """
    if matrix is None:
        return image
    a, b, c, d = (int(np.sign(value)) for value in matrix)
    if abs(a) + abs(b) != 1 or abs(a) != abs(d) or abs(b) != abs(c):
        return image
    if a == 0:  # x and y change places
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def display_matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """a, b, c, d of the frame's display matrix, None where it has none."""
    data = frame.side_data.get("DISPLAYMATRIX")  # as of PyAV 19, iterating gives the kinds instead of the data
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    return a, b, c, d
