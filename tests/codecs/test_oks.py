"""OKS against pycocotools, in numpy and in torch; suppression of poses against torchvision's of boxes."""

import contextlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_iou, nms

from dlcpose.codecs.oks import compute_oks, oks_areas, pairwise_oks, pose_nms
from tests.metrics.made_up import SKELETON, animal_shapes, seeds

SIGMAS = np.array(SKELETON.sigmas)
BODY = torch.tensor([[0.0, 0.0], [10.0, 4.0], [20.0, -4.0], [32.0, 2.0]])
BODY_SIGMAS = (0.1, 0.1, 0.05, 0.2)


def computed_by_pycocotools(pred: np.ndarray, gt: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """(M, N), from computeOks called directly on hand-written annotations; pred animals by falling score."""
    visible = ~np.isnan(gt).any(axis=-1)
    with contextlib.redirect_stdout(io.StringIO()):
        labeled, scored = COCO(), COCO()
        for coco, poses, seen in ((labeled, gt, visible), (scored, pred, np.ones(pred.shape[:2], bool))):
            coco.dataset = {
                "images": [{"id": 1}],
                "categories": [{"id": 1, "name": "animal"}],
                "annotations": [
                    {
                        "id": i + 1,
                        "image_id": 1,
                        "category_id": 1,
                        "iscrowd": 0,
                        "bbox": [0, 0, 1, 1],
                        "area": float(areas[i]) if coco is labeled else 1.0,
                        "score": 1.0 - 0.01 * i,
                        "num_keypoints": int(seen[i].sum()),
                        "keypoints": np.concatenate(
                            [np.nan_to_num(poses[i]), 2 * seen[i][:, None]], axis=1, dtype=float
                        )
                        .ravel()
                        .tolist(),
                    }
                    for i in range(len(poses))
                ],
            }
            coco.createIndex()
        evaluation = COCOeval(labeled, scored, "keypoints")
        evaluation.params.kpt_oks_sigmas = SIGMAS
        evaluation.params.imgIds, evaluation.params.catIds = [1], [1]
        evaluation._prepare()
        return np.asarray(evaluation.computeOks(1, 1))


@given(seed=seeds)
def test_oks_agrees_with_pycocotools(seed: int) -> None:
    random = np.random.default_rng(seed)
    gt = animal_shapes(random, 3)
    pred = np.concatenate([gt + random.normal(0, 8, gt.shape), animal_shapes(random, 1)])
    gt[1:][random.random((2, 5)) < 0.3] = np.nan
    gt[:, 0] = animal_shapes(random, 3)[:, 0]  # never an animal without any label
    areas = random.uniform(500, 20000, 3)
    expected = computed_by_pycocotools(pred, gt, areas)
    np.testing.assert_allclose(compute_oks(pred, gt, areas, SIGMAS), expected, rtol=1e-6, atol=1e-12)
    in_torch = compute_oks(*map(torch.from_numpy, (pred, gt, areas, SIGMAS)))
    np.testing.assert_allclose(in_torch.numpy(), expected, rtol=1e-6, atol=1e-12)


def test_a_keypoint_at_its_label_counts_1_and_a_missing_one_0() -> None:
    gt = animal_shapes(np.random.default_rng(0), 1)
    pred = gt.copy()
    pred[0, 3] = np.nan
    assert compute_oks(gt, gt, np.array([900.0]), SIGMAS)[0, 0] == 1
    assert compute_oks(pred, gt, np.array([900.0]), SIGMAS)[0, 0] == pytest.approx(4 / 5)


def test_animals_without_labels_or_area_have_no_similarity() -> None:
    gt = np.stack([np.full((5, 2), np.nan), np.ones((5, 2))])
    assert np.isnan(compute_oks(np.ones((1, 5, 2)), gt, np.array([9.0, np.nan]), SIGMAS)).all()


def test_no_animals_give_an_empty_matrix() -> None:
    none, one = np.zeros((0, 5, 2)), np.ones((1, 5, 2))
    assert compute_oks(none, one, np.ones(1), SIGMAS).shape == (0, 1)
    assert compute_oks(one, none, np.ones(0), SIGMAS).shape == (1, 0)


def test_different_numbers_of_keypoints_are_refused() -> None:
    with pytest.raises(ValueError, match="keypoints"):
        compute_oks(np.ones((1, 4, 2)), np.ones((1, 5, 2)), np.ones(1), SIGMAS)


def test_the_area_is_the_data_s_else_the_keypoints_box_and_never_zero() -> None:
    gt = np.full((4, 3, 2), np.nan)
    gt[0, 0], gt[0, 2] = (2, 3), (12, 7)
    gt[1, 0], gt[1, 2] = (2, 3), (12, 7)
    gt[2, 1] = (5, 5)
    areas = oks_areas(np.array([123.0, np.nan, np.nan, np.nan]), gt)
    assert areas.tolist() == [123, 40, 1, 1]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.integers(0, 10_000), st.integers(1, 7))
def test_pairwise_oks_is_the_oks_of_the_evaluation(seed: int, poses: int) -> None:
    keypoints = rng(seed).uniform(0, 40, (poses, 4, 2)).astype(np.float32)
    areas = oks_areas(np.full(poses, np.nan), keypoints)
    expected = compute_oks(keypoints, keypoints, areas, np.array(BODY_SIGMAS)).T
    got = pairwise_oks(torch.from_numpy(keypoints), BODY_SIGMAS)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_only_keypoints_that_both_have_count() -> None:
    moved = BODY.clone()
    moved[1] += 100
    partial = BODY.clone()
    partial[1] = torch.nan
    other = torch.full_like(BODY, torch.nan)
    other[1] = BODY[1]
    similarity = pairwise_oks(torch.stack((partial, moved, other)), BODY_SIGMAS)
    assert similarity.isfinite().all()
    assert similarity[0, 1] == 1
    assert similarity[0, 2] == similarity[2, 0] == 0


@given(st.integers(0, 10_000), st.integers(0, 40), st.floats(0.1, 0.9))
def test_suppression_is_greedy_as_torchvision_is_with_boxes(seed: int, count: int, threshold: float) -> None:
    corners = rng(seed).uniform(0, 50, (count, 2))
    boxes = torch.from_numpy(np.hstack((corners, corners + rng(seed + 1).uniform(5, 40, (count, 2))))).float()
    scores = torch.from_numpy(rng(seed + 2).permutation(count) / (count + 1)).float()
    expected = nms(boxes, scores, threshold)
    assert pose_nms(box_iou(boxes, boxes), scores, threshold).tolist() == expected.tolist()


@given(st.integers(0, 10_000))
def test_duplicates_of_a_pose_go_and_the_highest_scoring_stays(seed: int) -> None:
    poses = BODY + torch.tensor([[0.0, 0.0], [60.0, 0.0], [0.0, 60.0]])[:, None]
    wobble = torch.from_numpy(rng(seed).uniform(-1, 1, (5, 3, 4, 2))).float()
    many = (poses + wobble).flatten(0, 1)  # (15, K, 2)
    scores = torch.from_numpy(rng(seed).permutation(15) / 15).float()
    left = pose_nms(pairwise_oks(many, BODY_SIGMAS), scores, 0.5)
    assert sorted((left % 3).tolist()) == [0, 1, 2]
    assert left[0] == scores.argmax()
    for animal in range(3):
        own = scores[animal::3]
        assert int(left[left % 3 == animal]) == int(own.argmax()) * 3 + animal


def test_animals_that_touch_are_both_kept() -> None:
    nose_to_nose = torch.stack((BODY, BODY * torch.tensor([-1.0, 1.0])))
    across = torch.stack((BODY, BODY[:, [1, 0]] + torch.tensor([14.0, -14.0])))
    side_by_side = torch.stack((BODY, BODY + torch.tensor([0.0, 10.0])))
    for pair in (nose_to_nose, across, side_by_side):
        assert len(pose_nms(pairwise_oks(pair, BODY_SIGMAS), torch.tensor([0.9, 0.8]), 0.7)) == 2


def test_a_suppressed_pose_suppresses_none() -> None:
    row = BODY + torch.arange(3.0)[:, None, None] * torch.tensor([2.0, 0.0])
    similarity = pairwise_oks(row, (0.1,) * 4)
    assert similarity[0, 1] > 0.8 > similarity[0, 2]
    assert pose_nms(similarity, torch.tensor([0.9, 0.8, 0.7]), 0.8).tolist() == [0, 2]


def test_poses_of_one_keypoint_are_separated_by_min_area() -> None:
    points = torch.tensor([[[5.0, 5.0]], [[6.0, 5.0]], [[30.0, 5.0]]])
    left = pose_nms(pairwise_oks(points, (0.1,), min_area=256.0), torch.tensor([0.5, 0.6, 0.7]), 0.7)
    assert left.tolist() == [2, 1]
    assert len(pose_nms(pairwise_oks(points[:0], (0.1,)), torch.zeros(0), 0.7)) == 0
