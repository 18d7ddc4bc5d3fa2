"""Affine maps between coordinate frames: (2, 3) float64 matrices named `from_to_to`, for points and for boxes.

The center of the top-left pixel is (0, 0). Functions take numpy arrays and torch tensors alike. Everything is computed in
float64 and given back in the type it came in: at a few thousand pixels float32 loses a hundredth of one on the way there
and back.
"""

from types import ModuleType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch

from dlcpose.structures.input import Input, round_up

Matrix = npt.NDArray[np.float64]  # (2, 3)
Array = TypeVar("Array", bound=Any)  # numpy array or torch tensor


def apply_affine(matrix: Any, points: Array) -> Array:
    """Points moved by a matrix, in their own dtype: (2, 3), (..., 2) or (M, 2, 3), (M, ..., 2) -> the points' shape.

    NaN stays NaN. matrix: numpy for numpy points, torch for torch points; its leading dimensions are those of the points.
    """
    wide = (slice(None),) * (matrix.ndim - 2) + (None,) * (points.ndim + 1 - matrix.ndim)  # (M, 1, ..., 2, 3)
    linear, shift = _as_float64(matrix)[..., :2][wide], _as_float64(matrix)[..., 2][wide]
    exact = _as_float64(points)
    moved = exact[..., :1] * linear[..., 0] + exact[..., 1:] * linear[..., 1] + shift
    return cast(Array, _as_type_of(points, moved))


def apply_affine_to_boxes(matrix: Any, boxes: Array) -> Array:
    """The upright boxes around moved boxes, in their own dtype: (2, 3) or (M, 2, 3), (M, 4) as x1 y1 x2 y2 -> (M, 4)."""
    corners = apply_affine(matrix, boxes[..., [[0, 1], [2, 1], [0, 3], [2, 3]]])  # (M, 4, 2)
    library = _library(boxes)
    return cast(Array, library.concatenate((library.amin(corners, -2), library.amax(corners, -2)), -1))


def invert_affine(matrix: Array) -> Array:
    """The inverse map: (..., 2, 3) -> (..., 2, 3). Raises LinAlgError where there is none."""
    library = _library(matrix)
    linear = library.linalg.inv(matrix[..., :2])
    return cast(Array, library.concatenate((linear, -linear @ matrix[..., 2:]), -1))


def compose_affine(second: Array, first: Array) -> Array:
    """The map that applies `first`, then `second`: crop_to_image = compose_affine(canvas_to_image, crop_to_canvas).

    (..., 2, 3) twice -> (..., 2, 3); leading dimensions of matrices are broadcast.
    """
    linear = second[..., :2] @ first[..., :2]
    shift = second[..., :2] @ first[..., 2:] + second[..., 2:]
    return cast(Array, _library(second).concatenate((linear, shift), -1))


def resize_matrix(scale_x: float, scale_y: float) -> Matrix:
    """Resizing by these factors: x' = (x + 0.5)·s − 0.5, since the image's corner, not a pixel's center, stays in place."""
    return np.array([[scale_x, 0, 0.5 * scale_x - 0.5], [0, scale_y, 0.5 * scale_y - 0.5]])


def crop_matrix(left: float, top: float) -> Matrix:
    """Cropping, with (left, top) as the crop's first pixel."""
    return np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])


def flip_matrix(width: int) -> Matrix:
    """Mirroring an image of this width left to right."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])


def fit_affine(points: npt.NDArray[Any], moved: npt.NDArray[Any]) -> Matrix:
    """The least-squares map from points to where they went: (P, 2), (P, 2) -> (2, 3), P >= 3."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)  # (P, 3)
    return np.asarray(np.linalg.lstsq(homogeneous, moved, rcond=None)[0].T, np.float64)


def cells_from_pixels(points: Array, stride: float) -> Array:
    """Input pixels to cells of a map with this stride: the center of cell i lies at pixel stride·i + (stride − 1)/2."""
    return cast(Array, (points - (stride - 1) / 2) / stride)


def pixels_from_cells(points: Array, stride: float) -> Array:
    """Cells of a map to input pixels, the inverse of `cells_from_pixels`."""
    return cast(Array, points * stride + (stride - 1) / 2)


def aligned_cells_from_pixels(points: torch.Tensor, stride: float, size: tuple[int, int]) -> torch.Tensor:
    """Input pixels to cells of a map of `size` (h, w) whose outermost cells are centered on the outermost pixels.

    points: (..., 2) in an input of stride·h by stride·w. Source: Huang et al. 2020 (UDP), section 3.1.
    """
    x, y = points.unbind(dim=-1)
    return torch.stack((x * (size[1] - 1) / (stride * size[1] - 1), y * (size[0] - 1) / (stride * size[0] - 1)), dim=-1)


def aligned_pixels_from_cells(points: torch.Tensor, stride: float, size: tuple[int, int]) -> torch.Tensor:
    """Cells to input pixels, the inverse of `aligned_cells_from_pixels`."""
    x, y = points.unbind(dim=-1)
    return torch.stack((x * (stride * size[1] - 1) / (size[1] - 1), y * (stride * size[0] - 1) / (size[0] - 1)), dim=-1)


MAX_LENGTH = 16_384.0  # input pixels


def length_in_cells(pixels: float, stride: float, *, min_cells: float = 1.0) -> float:
    """A length in input pixels as cells of a map, at least `min_cells`: a coarse map cannot show what is smaller.

    Raises ValueError for a length that is not above 0, or longer than any image.
    """
    if not 0 < pixels <= MAX_LENGTH:
        raise ValueError(f"expected a length above 0 and up to {MAX_LENGTH:g} input pixels, got {pixels}")
    return max(pixels / stride, min_cells)


def size_in_cells(size: tuple[int, int], stride: float) -> tuple[int, int]:
    """The (h, w) of a map with this stride for an input of (height, width) pixels."""
    return round(size[0] / stride), round(size[1] / stride)


def place_on_canvas(model_input: Input, image_size: tuple[int, int]) -> tuple[Matrix, tuple[int, int], tuple[int, int]]:
    """The map of an image of (height, width) into a model's input, the canvas.

    Returns image_to_canvas, the (height, width) the image is scaled to, and the (height, width) of the canvas, which is
    padded on the right and at the bottom. Scaled sizes are whole pixels, so the scales of x and y may differ by a rounding.
    """
    height, width = image_size
    if model_input.canvas is None:
        scaled = image_size
        canvas = (round_up(height, model_input.multiple_of), round_up(width, model_input.multiple_of))
    elif model_input.keep_aspect:
        canvas = model_input.canvas
        scale = min(canvas[0] / height, canvas[1] / width)
        scaled = (max(1, round(height * scale)), max(1, round(width * scale)))
    else:
        scaled = canvas = model_input.canvas
    return resize_matrix(scaled[1] / width, scaled[0] / height), scaled, canvas


def _library(values: Any) -> ModuleType:
    return torch if isinstance(values, torch.Tensor) else np


def _as_float64(values: Any) -> Any:
    return values.double() if isinstance(values, torch.Tensor) else np.asarray(values, np.float64)


def _as_type_of(like: Any, values: Any) -> Any:
    return values.to(like.dtype) if isinstance(like, torch.Tensor) else values.astype(like.dtype)
