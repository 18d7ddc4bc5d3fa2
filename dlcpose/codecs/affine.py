"""Moves between coordinate frames: every change of size, place or orientation is a (2, 3) matrix named `from_to_to`.

The centre of the top-left pixel is (0, 0). Functions take numpy arrays and torch tensors alike.
"""

from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from dlcpose.structures.input import Input, round_up

Matrix = npt.NDArray[np.float64]  # (2, 3)
Array = TypeVar("Array", bound=Any)  # numpy array or torch tensor


def apply_affine(matrix: Any, points: Array) -> Array:
    """Points through a matrix, in the points' own type: (..., 2, 3), (..., P, 2) -> (..., P, 2); NaN stays NaN."""
    alike = matrix.astype(points.dtype) if isinstance(matrix, np.ndarray) else matrix.to(points)
    return cast(Array, points @ alike[..., :2].mT + alike[..., None, :, 2])


def invert_affine(matrix: Matrix) -> Matrix:
    """The matrix of the way back: (..., 2, 3) -> (..., 2, 3). Raises LinAlgError where there is none."""
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


def compose(second: Matrix, first: Matrix) -> Matrix:
    """The matrix that applies `first`, then `second`: crop_to_image = compose(canvas_to_image, crop_to_canvas)."""
    return np.concatenate(
        [second[..., :2] @ first[..., :2], second[..., :2] @ first[..., 2:] + second[..., 2:]], axis=-1
    )


def resize_matrix(scale_x: float, scale_y: float) -> Matrix:
    """A change of size about the corner of the image, not the centre of its first pixel: x' = (x + 0.5)·s − 0.5."""
    return np.array([[scale_x, 0, 0.5 * scale_x - 0.5], [0, scale_y, 0.5 * scale_y - 0.5]])


def crop_matrix(left: float, top: float) -> Matrix:
    """The cut whose first pixel was at (left, top)."""
    return np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])


def flip_matrix(width: int) -> Matrix:
    """The left/right mirror image of an image of this width."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])


def fit_affine(points: npt.NDArray[Any], moved: npt.NDArray[Any]) -> Matrix:
    """The matrix that takes points nearest to where they went, least squares: (P, 2), (P, 2) -> (2, 3), P >= 3."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)  # (P, 3)
    return np.asarray(np.linalg.lstsq(homogeneous, moved, rcond=None)[0].T, np.float64)


def cells_from_pixels(points: Array, stride: float) -> Array:
    """Pixels of a model's input to cells of a map: the centre of cell i lies at stride·i + (stride − 1)/2."""
    return cast(Array, (points - (stride - 1) / 2) / stride)


def pixels_from_cells(points: Array, stride: float) -> Array:
    """Cells of a map to pixels of the model's input, the inverse of `cells_from_pixels`."""
    return cast(Array, points * stride + (stride - 1) / 2)


def place_on_canvas(model_input: Input, image_size: tuple[int, int]) -> tuple[Matrix, tuple[int, int], tuple[int, int]]:
    """Where an image of (height, width) comes to lie in a model's input.

    Returns image_to_canvas, the (height, width) the image is scaled to, and the (height, width) of the canvas, which is
    padded on the right and below. Scaled sizes are whole pixels, so the scales of x and y may differ by a rounding.
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
