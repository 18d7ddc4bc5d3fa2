"""The coordinate laws of the design: each change of frame and its way back, and pixel centers at whole numbers."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.codecs.affine import (
    aligned_cells_from_pixels,
    aligned_pixels_from_cells,
    apply_affine,
    apply_affine_to_boxes,
    cells_from_pixels,
    compose_affine,
    crop_matrix,
    fit_affine,
    flip_matrix,
    invert_affine,
    pixels_from_cells,
    place_on_canvas,
    resize_matrix,
)
from dlcpose.structures.input import Input

POINTS = st.lists(st.tuples(st.floats(-50, 2000), st.floats(-50, 2000)), min_size=1, max_size=6).map(np.array)
MATRICES = st.one_of(
    st.tuples(st.floats(0.1, 8), st.floats(0.1, 8)).map(lambda scale: resize_matrix(*scale)),
    st.tuples(st.floats(-300, 300), st.floats(-300, 300)).map(lambda corner: crop_matrix(*corner)),
    st.integers(1, 2000).map(flip_matrix),
)


@given(POINTS, MATRICES, MATRICES)
def test_the_inverse_returns_the_points(points: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    there = compose_affine(second, first)
    np.testing.assert_allclose(apply_affine(invert_affine(there), apply_affine(there, points)), points, atol=1e-3)


@given(POINTS, MATRICES, MATRICES)
def test_composing_is_applying_one_after_the_other(points: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    in_turn = apply_affine(second, apply_affine(first, points))
    np.testing.assert_allclose(apply_affine(compose_affine(second, first), points), in_turn, atol=1e-3)


@given(
    POINTS,
    st.tuples(st.integers(16, 1500), st.integers(16, 1500)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.booleans(),
)
def test_canvas_and_back_returns_the_points(
    points: np.ndarray, size: tuple[int, int], canvas: tuple[int, int], keep_aspect: bool
) -> None:
    model_input = Input(canvas[0] * 32, canvas[1] * 32, keep_aspect=keep_aspect, multiple_of=32)
    image_to_canvas, scaled, _ = place_on_canvas(model_input, size)
    back = apply_affine(invert_affine(image_to_canvas), apply_affine(image_to_canvas, points))
    np.testing.assert_allclose(back, points, atol=1e-3)
    # The image's outer edges, half a pixel beyond the centers, become the scaled image's outer edges.
    edges = np.array([[-0.5, -0.5], [size[1] - 0.5, size[0] - 0.5]])
    expected = [[-0.5, -0.5], [scaled[1] - 0.5, scaled[0] - 0.5]]
    np.testing.assert_allclose(apply_affine(image_to_canvas, edges), expected, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_resizing_agrees_with_opencv(factor: int) -> None:
    image = np.zeros((24, 36), np.float32)
    image[12 : 12 + factor, 12 : 12 + factor] = 1  # one pixel of the shrunken image
    shrunken = cv2.resize(image, (36 // factor, 24 // factor), interpolation=cv2.INTER_AREA)
    center = np.array([[12 + (factor - 1) / 2, 12 + (factor - 1) / 2]])
    lit = np.argwhere(shrunken > 0.99)[:, ::-1]
    np.testing.assert_allclose(apply_affine(resize_matrix(1 / factor, 1 / factor), center), lit, atol=1e-9)


@given(POINTS, st.sampled_from([0.5, 1, 2, 4, 8, 16, 32]))
def test_cells_and_pixels_are_each_other_s_inverse(points: np.ndarray, stride: float) -> None:
    np.testing.assert_allclose(pixels_from_cells(cells_from_pixels(points, stride), stride), points, atol=1e-6)


def test_a_cell_s_center_is_the_mean_of_its_pixels() -> None:
    for stride in (1, 2, 4, 8):
        pixels = np.arange(5 * stride).reshape(5, stride)  # the pixels under each of five cells
        np.testing.assert_allclose(pixels_from_cells(np.arange(5), stride), pixels.mean(axis=1))


@given(MATRICES)
def test_a_matrix_is_fitted_from_where_points_went(matrix: np.ndarray) -> None:
    points = np.array([[0.0, 0.0], [100, 0], [0, 80], [100, 80]])
    np.testing.assert_allclose(fit_affine(points, apply_affine(matrix, points)), matrix, atol=1e-6)


def test_torch_and_numpy_agree_on_batches_and_missing_points_in_the_points_dtype() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 4, 2, 3))
    points = generator.normal(size=(4, 5, 3, 2)).astype(np.float32)
    points[1, 2, 0] = np.nan
    in_torch = apply_affine(torch.from_numpy(first), torch.from_numpy(points))
    in_numpy = apply_affine(first, points)
    assert (in_torch.dtype, in_numpy.dtype) == (torch.float32, np.float32)
    np.testing.assert_allclose(in_torch.numpy(), in_numpy, rtol=1e-6)
    for matrix, before, after in zip(first, points, in_numpy, strict=True):
        np.testing.assert_allclose(after, before @ matrix[:, :2].T + matrix[:, 2], atol=1e-6)
    assert np.isnan(in_numpy).sum() == 2
    composed = compose_affine(torch.from_numpy(second), torch.from_numpy(first))
    np.testing.assert_allclose(composed.numpy(), compose_affine(second, first))
    np.testing.assert_allclose(invert_affine(torch.from_numpy(first)).numpy(), invert_affine(first), rtol=1e-9)


def test_float32_points_far_from_the_origin_come_back() -> None:
    crop_to_frame = compose_affine(crop_matrix(-3000.3, -2000.7), resize_matrix(0.37, 0.37))
    points = torch.tensor([[3050.25, 2075.75], [3999.5, 2000.125]])
    there, back = torch.from_numpy(invert_affine(crop_to_frame)), torch.from_numpy(crop_to_frame)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (apply_affine(back, apply_affine(there, points)) - points).abs().max() < 1e-3


def test_a_turned_box_is_the_upright_one_around_its_corners() -> None:
    quarter = torch.tensor([[0.0, -1.0, 10.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    boxes, expected = torch.tensor([[1.0, 2.0, 4.0, 8.0], [math.nan] * 4]), [[2.0, 1.0, 8.0, 4.0], [math.nan] * 4]
    for matrix in (quarter, quarter.expand(2, 2, 3)):
        torch.testing.assert_close(apply_affine_to_boxes(matrix, boxes), torch.tensor(expected), equal_nan=True)
        in_numpy = apply_affine_to_boxes(matrix.numpy(), boxes.numpy())
        np.testing.assert_allclose(in_numpy, np.float32(expected))


def test_aligned_cells_lie_on_the_outermost_pixels() -> None:
    corners = torch.tensor([[0.0, 0.0], [47.0, 63.0], [20.5, 3.25]])  # of a map of 64x48 cells of 4 px
    pixels = aligned_pixels_from_cells(corners, 4, (64, 48))
    assert pixels[:2].tolist() == [[0, 0], [191, 255]]
    torch.testing.assert_close(aligned_cells_from_pixels(pixels, 4, (64, 48)), corners)
