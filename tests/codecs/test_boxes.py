"""Boxes and the crops around them: exact both ways, and what every part of the rule is for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlcpose.codecs.affine import apply_affine, compose, invert_affine
from dlcpose.codecs.boxes import (
    boxes_around_points,
    clip_boxes,
    compose_affine,
    crops_around,
    expand_boxes,
    jitter_boxes,
    transform_boxes,
    transform_points,
)
from dlcpose.structures.sample import boxes_around

SIZES = st.sampled_from([(256, 256), (128, 96), (64, 192), (384, 288)])


def numbers(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> Tensor:
    """A box in a frame of up to 4000 px, sometimes without area."""
    left, top = draw(numbers(-500, 4000)), draw(numbers(-500, 4000))
    width, height = draw(st.just(0.0) | numbers(1, 2000)), draw(st.just(0.0) | numbers(1, 2000))
    return torch.tensor([[left, top, left + width, top + height]])


@given(box=boxes(), size=SIZES, margin=numbers(0, 0.5), places=st.lists(numbers(-0.5, 1.5), min_size=8, max_size=8))
@settings(max_examples=60, deadline=None)
def test_points_go_to_the_crop_and_back(box: Tensor, size: tuple[int, int], margin: float, places: list[float]) -> None:
    there, back = crops_around(box, size, margin=margin, min_size=32.0)
    sides = (box[:, 2:] - box[:, :2]).clamp(min=8)
    points = box[:, None, :2] + torch.tensor(places).view(1, 4, 2) * sides[:, None]  # (1, 4, 2), also beyond the edge
    crop = transform_points(there, points)
    assert (transform_points(back, crop) - points).abs().max() < 1e-3
    assert crop.dtype == points.dtype
    inverse = torch.from_numpy(invert_affine(there.numpy()))
    torch.testing.assert_close(inverse, back, atol=1e-6, rtol=1e-9)


@given(box=boxes(), size=SIZES, margin=numbers(0, 0.5), min_size=numbers(1, 64))
@settings(max_examples=60, deadline=None)
def test_the_rule_of_the_crop(box: Tensor, size: tuple[int, int], margin: float, min_size: float) -> None:
    _, crop_to_frame = crops_around(box, size, margin=margin, min_size=min_size)
    height, width = size  # in float64: box sides of thousands of px have but three decimals in float32
    edges = torch.tensor([[[-0.5, -0.5], [width - 0.5, height - 0.5]]], dtype=torch.float64)  # of the outermost pixels
    shown = transform_points(crop_to_frame, edges)[0]  # (2, 2) in the frame
    shown_sides, sides = shown[1] - shown[0], box[0, 2:].double() - box[0, :2].double()
    wanted = sides + 2 * margin * sides.max()
    middle = (box[0, :2].double() + box[0, 2:].double()) / 2
    torch.testing.assert_close(shown.mean(dim=0), middle, atol=1e-6, rtol=1e-9)
    assert shown_sides[0] / shown_sides[1] == pytest.approx(width / height)  # nothing is stretched
    assert (shown_sides >= wanted - 1e-4).all()
    assert shown_sides.max() >= min_size - 1e-6
    # No larger than it has to be.
    assert shown_sides.max() == pytest.approx(min_size) or (shown_sides - wanted).abs().min() < 1e-4


def test_a_box_of_the_crops_shape_fills_it_to_its_outer_edges() -> None:
    there, _ = crops_around(torch.tensor([[9.5, 19.5, 73.5, 51.5]]), (64, 128), margin=0.0, min_size=1.0)
    # Pixel 10 of the frame becomes pixels 0 and 1 of the crop: their middle is at 0.5.
    moved = transform_points(there, torch.tensor([[[10.0, 20.0], [73.0, 51.0]]]))
    torch.testing.assert_close(moved, torch.tensor([[[0.5, 0.5], [126.5, 62.5]]]))


def test_moves_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 2, 3))
    points = rng.normal(size=(5, 7, 2))
    torch_first, torch_second = torch.from_numpy(first), torch.from_numpy(second)
    np.testing.assert_allclose(transform_points(torch_first, torch.from_numpy(points)), apply_affine(first, points))
    np.testing.assert_allclose(compose_affine(torch_second, torch_first), compose(second, first))


def test_half_precision_is_not_taken_for_places() -> None:
    there, back = crops_around(torch.tensor([[3000.0, 2000.0, 3100.0, 2100.0]]), (256, 256), margin=0.1, min_size=8.0)
    points = torch.tensor([[[3050.25, 2075.75]]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (transform_points(back, transform_points(there, points)) - points).abs().max() < 1e-3


def test_a_turned_box_is_the_upright_one_around_its_corners() -> None:
    quarter = torch.tensor([[[0.0, -1.0, 10.0], [1.0, 0.0, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(
        transform_boxes(quarter, torch.tensor([[1.0, 2.0, 4.0, 8.0]])), torch.tensor([[2.0, 1.0, 8.0, 4.0]])
    )
    assert transform_boxes(quarter, torch.full((1, 4), math.nan)).isnan().all()


def test_boxes_around_points_are_those_of_the_samples() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 100, (6, 5, 2)).astype(np.float32)
    points[0, 1:], points[1], points[2, 0, 1] = np.nan, np.nan, np.nan
    np.testing.assert_array_equal(boxes_around_points(torch.from_numpy(points)), boxes_around(points))


def test_widening() -> None:
    box = torch.tensor([[10.0, 10.0, 30.0, 20.0], [5.0, 5.0, 5.0, 5.0], [math.nan] * 4])
    expected = torch.tensor([[8.0, 8.0, 32.0, 22.0], [1.0, 1.0, 9.0, 9.0], [math.nan] * 4])
    torch.testing.assert_close(expand_boxes(box, 0.1, min_size=8.0), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("box", "left"),
    [
        ([-10.0, -10.0, 20.0, 20.0], [-0.5, -0.5, 20.0, 20.0]),
        ([50.0, 30.0, 500.0, 400.0], [50.0, 30.0, 99.5, 49.5]),
        ([100.0, 10.0, 120.0, 20.0], None),
        ([10.0, -30.0, 20.0, -1.0], None),
        ([5.0, 5.0, 5.0, 9.0], None),
        ([math.nan] * 4, None),
    ],
)
def test_what_lies_in_the_frame(box: list[float], left: list[float] | None) -> None:
    torch.testing.assert_close(
        clip_boxes(torch.tensor([box]), (50, 100)), torch.tensor([left or [math.nan] * 4]), equal_nan=True
    )


@given(draws=st.lists(numbers(-1, 1), min_size=3, max_size=3), shift=numbers(0, 0.5), scale=numbers(0, 1))
@settings(max_examples=40, deadline=None)
def test_chance_stays_within_its_bounds(draws: list[float], shift: float, scale: float) -> None:
    box = torch.tensor([[10.0, 20.0, 50.0, 30.0]])
    moved = jitter_boxes(box, torch.tensor([draws]), shift=shift, scale=scale)
    middles = (moved[:, :2] + moved[:, 2:]) / 2 - (box[:, :2] + box[:, 2:]) / 2
    assert (middles.abs() <= shift * 40 + 1e-4).all()
    factors = (moved[:, 2:] - moved[:, :2]) / (box[:, 2:] - box[:, :2])
    assert factors.max() <= 1 + scale + 1e-4
    assert factors.min() >= 1 / (1 + scale) - 1e-4
    torch.testing.assert_close(jitter_boxes(box, torch.zeros(1, 3), shift=shift, scale=scale), box)
