from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.structures.sample import boxes_around, labels_of, visibility_of

NAN = np.nan


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("visibility", np.zeros((2, 2), np.int64)),
        ("boxes_in_image", np.zeros((1, 4), np.float32)),
        ("areas", np.zeros(3, np.float32)),
        ("identities", np.zeros((2, 1), np.int64)),
        ("unique_in_image", np.zeros((2, 3), np.float32)),
        ("ignored_in_image", np.zeros((2, 2), np.float32)),
    ],
)
def test_labels_whose_shapes_disagree_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"frame 7: expected {name} of shape .*, got "):
        labels_of("frame 7", (8, 8), np.zeros((2, 3, 2), np.float32), **{name: value})


def test_what_is_not_given_is_unknown_and_not_zero() -> None:
    labels = labels_of("a", (6, 9), np.array([[[1, 2], [NAN, NAN]]]))
    assert labels.keypoints_in_image.dtype == np.float32
    assert labels.visibility.tolist() == [[2, 0]]
    assert np.isnan(labels.boxes_in_image).all()
    assert np.isnan(labels.areas).all()
    assert labels.identities.tolist() == [-1]
    assert labels.unique_in_image.shape == (0, 2)
    assert labels.ignored_in_image.shape == (0, 4)
    assert len(labels) == 1


def test_a_point_with_one_coordinate_is_missing() -> None:
    assert visibility_of(np.array([[[1, NAN], [NAN, 1], [0, 0]]])).tolist() == [[0, 0, 2]]


@given(st.integers(0, 2**31), st.floats(0, 20))
def test_a_box_holds_its_animals_points_and_touches_them(seed: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-50, 50, (4, 5, 2))
    points[rng.random((4, 5)) < 0.4] = NAN
    points[3] = NAN
    boxes = boxes_around(points, margin)
    assert np.isnan(boxes[3]).all()
    for box, animal in zip(boxes[:3], points[:3], strict=True):
        known = animal[~np.isnan(animal).any(axis=1)]
        if len(known):
            np.testing.assert_allclose(box[:2] + margin, known.min(axis=0), atol=1e-4)
            np.testing.assert_allclose(box[2:] - margin, known.max(axis=0), atol=1e-4)


def test_points_of_a_file_keep_their_digits() -> None:
    points = np.array([[[123.456789012345, 2.1], [NAN, NAN]]])
    labels = labels_of("a", (200, 200), points)
    assert labels.keypoints_in_image.dtype == np.float32
    np.testing.assert_array_equal(labels.exact_keypoints, points)
    rounded = labels_of("a", (200, 200), points.astype(np.float32))
    np.testing.assert_array_equal(rounded.exact_keypoints, points.astype(np.float32))
    with pytest.raises(ValueError, match="keypoints_in_image"):
        replace(labels, keypoints_in_image=labels.keypoints_in_image + 1)
