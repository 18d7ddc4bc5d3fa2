"""Poses of a frame and of its mirror image as one."""

import numpy as np
import pytest

from dlcpose.prediction.flip_test import merge_mirrored
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.skeleton import Skeleton

SKELETON = Skeleton(("nose", "left", "right"), pairs=((1, 2),), unique=("door",))
POSE = np.array([[20.0, 20.0], [10.0, 40.0], [30.0, 40.0]], np.float32)


def prediction(poses: list[np.ndarray], scores: list[list[float]]) -> PosePrediction:
    points = np.array(poses, np.float32).reshape(-1, 3, 2)
    each = np.array(scores, np.float32).reshape(-1, 3)
    count = len(points)
    return PosePrediction(
        "0",
        points,
        each,
        each.mean(axis=1),
        np.full(count, -1),
        np.array([[1.0, 2.0]], np.float32),
        np.ones(1, np.float32),
        np.full((count, 4), np.nan, np.float32),
    )


def seen_in_mirror(found: PosePrediction) -> PosePrediction:
    """What a perfect model finds in the mirror image, moved back: left and right have changed."""
    order = list(SKELETON.flip_order)
    moved = {name: getattr(found, name)[:, order] for name in ("keypoints_in_image", "keypoint_scores")}
    return PosePrediction(**{**vars(found), **moved})


def test_two_that_agree_are_one() -> None:
    ours = prediction([POSE, POSE + 50], [[0.9, 0.5, 0.7], [0.4, 0.6, 0.8]])
    merged = merge_mirrored(ours, seen_in_mirror(ours), SKELETON)
    for name in ("keypoints_in_image", "keypoint_scores", "scores", "unique_in_image"):
        np.testing.assert_allclose(getattr(merged, name), getattr(ours, name), atol=1e-5)


def test_animals_are_matched_whatever_their_order() -> None:
    ours = prediction([POSE, POSE + 50], [[0.9, 0.5, 0.7], [0.4, 0.6, 0.8]])
    theirs = seen_in_mirror(prediction([POSE + 50.5, POSE + 0.5], [[0.4, 0.6, 0.8], [0.9, 0.5, 0.7]]))
    merged = merge_mirrored(ours, theirs, SKELETON)
    np.testing.assert_allclose(merged.keypoints_in_image, ours.keypoints_in_image + 0.25, atol=1e-5)


def test_where_they_agree_it_is_their_mean_by_score_and_where_not_the_surer_one_s() -> None:
    ours = prediction([POSE], [[0.9, 0.2, 0.6]])
    displaced_pose = POSE + np.array([[1, 0], [0, 100], [0, 100]], np.float32)
    theirs = seen_in_mirror(prediction([displaced_pose], [[0.3, 0.8, 0.1]]))
    merged = merge_mirrored(ours, theirs, SKELETON)
    np.testing.assert_allclose(merged.keypoints_in_image[0, 0], (20.25, 20))
    np.testing.assert_allclose(merged.keypoints_in_image[0, 1], displaced_pose[1])
    np.testing.assert_allclose(merged.keypoints_in_image[0, 2], POSE[2])
    np.testing.assert_allclose(merged.keypoint_scores[0], [0.6, 0.8, 0.6], atol=1e-6)


def test_keypoint_missing_in_one_comes_from_the_other() -> None:
    known = POSE.copy()
    known[1] = np.nan
    ours, theirs = prediction([known], [[0.9, 0.0, 0.6]]), seen_in_mirror(prediction([POSE], [[0.9, 0.5, 0.6]]))
    merged = merge_mirrored(ours, theirs, SKELETON)
    np.testing.assert_allclose(merged.keypoints_in_image[0], POSE)
    both = prediction([known], [[0.9, 0.0, 0.6]])
    merged = merge_mirrored(both, seen_in_mirror(both), SKELETON)
    np.testing.assert_array_equal(np.isnan(merged.keypoints_in_image[0, 1]), True)


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (0, 2), (2, 0), (1, 2)])
def test_animals_are_those_of_the_unmirrored_frame(ours: int, theirs: int) -> None:
    make = [prediction([POSE + 40 * each for each in range(count)], [[0.5] * 3] * count) for count in (ours, theirs)]
    assert len(merge_mirrored(make[0], seen_in_mirror(make[1]), SKELETON)) == ours
