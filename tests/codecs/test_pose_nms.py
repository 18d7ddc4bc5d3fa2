"""Likeness and suppression of poses, against the evaluation's own OKS and torchvision's suppression of boxes."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou, nms

from dlcpose.codecs.oks import compute_oks, oks_areas
from dlcpose.codecs.pose_nms import pose_nms, pose_similarity

BODY = torch.tensor([[0.0, 0.0], [10.0, 4.0], [20.0, -4.0], [32.0, 2.0]])
SIGMAS = (0.1, 0.1, 0.05, 0.2)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7))
def test_likeness_is_the_oks_of_the_evaluation(seed: int, poses: int) -> None:
    keypoints = rng(seed).uniform(0, 40, (poses, 4, 2)).astype(np.float32)
    areas = oks_areas(np.full(poses, np.nan), keypoints)
    expected = compute_oks(keypoints, keypoints, areas, np.array(SIGMAS)).T  # found, labelled -> labelled, found
    got = pose_similarity(torch.from_numpy(keypoints), SIGMAS)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_only_keypoints_that_both_have_count() -> None:
    moved = BODY.clone()
    moved[1] += 100
    partial = BODY.clone()
    partial[1] = torch.nan
    displaced_pose = torch.full_like(BODY, torch.nan)
    displaced_pose[1] = BODY[1]
    likeness = pose_similarity(torch.stack((partial, moved, displaced_pose)), SIGMAS)
    assert likeness.isfinite().all()
    assert likeness[0, 1] == 1
    assert likeness[0, 2] == likeness[2, 0] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 40), st.floats(0.1, 0.9))
def test_suppression_is_greedy_as_torchvision_is_with_boxes(seed: int, count: int, threshold: float) -> None:
    corners = rng(seed).uniform(0, 50, (count, 2))
    boxes = torch.from_numpy(np.hstack((corners, corners + rng(seed + 1).uniform(5, 40, (count, 2))))).float()
    scores = torch.from_numpy(rng(seed + 2).permutation(count) / (count + 1)).float()
    expected = nms(boxes, scores, threshold)
    assert pose_nms(box_iou(boxes, boxes), scores, threshold).tolist() == expected.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_twins_of_a_pose_go_and_the_surest_stays(seed: int) -> None:
    poses = BODY + torch.tensor([[0.0, 0.0], [60.0, 0.0], [0.0, 60.0]])[:, None]
    wobble = torch.from_numpy(rng(seed).uniform(-1, 1, (5, 3, 4, 2))).float()
    many = (poses + wobble).flatten(0, 1)  # (15, K, 2)
    scores = torch.from_numpy(rng(seed).permutation(15) / 15).float()
    left = pose_nms(pose_similarity(many, SIGMAS), scores, 0.5)
    assert sorted((left % 3).tolist()) == [0, 1, 2]
    assert left[0] == scores.argmax()
    for animal in range(3):
        own = scores[animal::3]
        assert int(left[left % 3 == animal]) == int(own.argmax()) * 3 + animal


def test_animals_that_touch_both_stay() -> None:
    nose_to_nose = torch.stack((BODY, BODY * torch.tensor([-1.0, 1.0])))
    across = torch.stack((BODY, BODY[:, [1, 0]] + torch.tensor([14.0, -14.0])))
    side_by_side = torch.stack((BODY, BODY + torch.tensor([0.0, 10.0])))
    for pair in (nose_to_nose, across, side_by_side):
        assert len(pose_nms(pose_similarity(pair, SIGMAS), torch.tensor([0.9, 0.8]), 0.7)) == 2


def test_a_suppressed_pose_suppresses_none() -> None:
    row = BODY + torch.arange(3.0)[:, None, None] * torch.tensor([2.0, 0.0])
    likeness = pose_similarity(row, (0.1,) * 4)
    assert likeness[0, 1] > 0.8 > likeness[0, 2]
    assert pose_nms(likeness, torch.tensor([0.9, 0.8, 0.7]), 0.8).tolist() == [0, 2]


def test_poses_of_one_keypoint_are_told_apart_by_the_smallest_area() -> None:
    points = torch.tensor([[[5.0, 5.0]], [[6.0, 5.0]], [[30.0, 5.0]]])
    left = pose_nms(pose_similarity(points, (0.1,), min_area=256.0), torch.tensor([0.5, 0.6, 0.7]), 0.7)
    assert left.tolist() == [2, 1]
    assert len(pose_nms(pose_similarity(points[:0], (0.1,)), torch.zeros(0), 0.7)) == 0
