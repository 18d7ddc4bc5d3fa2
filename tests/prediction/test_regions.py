"""Where to look in the next frame."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.codecs.affine import apply_affine, invert_affine, resize_matrix
from dlcpose.detectors.box_rules import around_keypoints
from dlcpose.prediction.regions import MIN_SIDE, boxes_around_last, is_lost, region_around_last
from dlcpose.structures.instances import PosePrediction

CPU = torch.device("cpu")


def prediction(points: np.ndarray, scores: np.ndarray) -> PosePrediction:
    count = len(scores)
    return PosePrediction(
        "0",
        points.astype(np.float32),
        scores.astype(np.float32),
        scores.mean(axis=1).astype(np.float32),
        np.full(count, -1),
        np.zeros((0, 2), np.float32),
        np.zeros(0, np.float32),
        np.full((count, 4), np.nan, np.float32),
    )


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.5, 1.0, 2.0]),
    multiple_of=st.sampled_from([1, 8, 32]),
    spread=st.floats(1, 150),
)
def test_a_region_holds_the_pose_within_the_canvas(seed: int, scale: float, multiple_of: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    canvas = (256, 320)
    to_canvas = resize_matrix(scale, scale)
    in_canvas = np.clip(rng.uniform(0, 320, 2) + rng.uniform(-spread, spread, (4, 2)), 0, (319, 255))
    points = apply_affine(invert_affine(to_canvas), in_canvas)[None]
    region = region_around_last(
        prediction(points, np.full((1, 4), 0.9)), invert_affine(to_canvas), canvas, multiple_of=multiple_of
    )
    if region is None:
        return
    x1, y1, x2, y2 = region
    assert 0 <= x1 < x2 <= canvas[1]
    assert 0 <= y1 < y2 <= canvas[0]
    assert (x2 - x1) % multiple_of == (y2 - y1) % multiple_of == 0
    assert min(x2 - x1, y2 - y1) >= MIN_SIDE
    assert (in_canvas >= np.array([x1, y1]) - 0.51).all()
    assert (in_canvas <= np.array([x2, y2]) - 0.49).all()


def test_who_is_lost_is_looked_for_everywhere() -> None:
    points = np.random.default_rng(0).uniform(100, 120, (1, 4, 2))
    assert region_around_last(None, np.eye(3)[:2], (256, 256), multiple_of=32) is None
    unsure = prediction(points, np.array([[0.9, 0.01, 0.02, 0.0]]))
    assert is_lost(unsure)
    assert region_around_last(unsure, np.eye(3)[:2], (256, 256), multiple_of=32) is None
    points[0, :3] = np.nan
    assert is_lost(prediction(points, np.full((1, 4), 0.9)))
    assert is_lost(prediction(np.zeros((0, 4, 2)), np.zeros((0, 4))))


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_boxes_are_those_that_the_detector_was_trained_by(scale: float) -> None:
    points = np.array([[[20.0, 20.0], [60.0, 30.0]], [[100.0, 100.0], [140.0, 120.0]], [[5.0, 5.0], [9.0, 9.0]]])
    scores = np.array([[0.9, 0.8], [0.5, 0.6], [0.01, 0.02]])
    to_canvas = resize_matrix(scale, scale)
    boxes = boxes_around_last(prediction(points, scores), around_keypoints, invert_affine(to_canvas), (200, 200), CPU)
    assert boxes is not None
    in_canvas = torch.from_numpy(apply_affine(to_canvas, points[:2])).float()
    expected = around_keypoints(in_canvas, torch.full((2, 4), torch.nan))
    torch.testing.assert_close(boxes.boxes_in_frame, expected)
    assert boxes.scores.tolist() == [1.0, 1.0]


def test_without_anybody_there_are_no_boxes() -> None:
    away = prediction(np.full((1, 2, 2), 900.0), np.full((1, 2), 0.9))
    for last in (None, away, prediction(np.zeros((0, 2, 2)), np.zeros((0, 2)))):
        assert boxes_around_last(last, around_keypoints, np.eye(3)[:2], (200, 200), CPU) is None
