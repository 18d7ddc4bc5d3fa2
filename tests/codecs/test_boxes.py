"""Box arithmetic: around points, grown, clipped and jittered."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.codecs.boxes import boxes_around_points, clip_boxes, expand_boxes, jitter_boxes
from dlcpose.structures.sample import boxes_around


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, width=32)


def test_boxes_around_points_are_those_of_the_samples() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 100, (6, 5, 2)).astype(np.float32)
    points[0, 1:], points[1], points[2, 0, 1] = np.nan, np.nan, np.nan
    np.testing.assert_array_equal(boxes_around_points(torch.from_numpy(points)), boxes_around(points))


def test_expanding() -> None:
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
def test_clipping(box: list[float], left: list[float] | None) -> None:
    torch.testing.assert_close(
        clip_boxes(torch.tensor([box]), (50, 100)), torch.tensor([left or [math.nan] * 4]), equal_nan=True
    )


@given(draws=st.lists(numbers(-1, 1), min_size=3, max_size=3), shift=numbers(0, 0.5), scale=numbers(0, 1))
def test_jitter_stays_within_its_bounds(draws: list[float], shift: float, scale: float) -> None:
    box = torch.tensor([[10.0, 20.0, 50.0, 30.0]])
    moved = jitter_boxes(box, torch.tensor([draws]), shift=shift, scale=scale)
    centers = (moved[:, :2] + moved[:, 2:]) / 2 - (box[:, :2] + box[:, 2:]) / 2
    assert (centers.abs() <= shift * 40 + 1e-4).all()
    factors = (moved[:, 2:] - moved[:, :2]) / (box[:, 2:] - box[:, :2])
    assert factors.max() <= 1 + scale + 1e-4
    assert factors.min() >= 1 / (1 + scale) - 1e-4
    torch.testing.assert_close(jitter_boxes(box, torch.zeros(1, 3), shift=shift, scale=scale), box)
