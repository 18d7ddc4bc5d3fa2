"""DEKR: published sizes, exact decoding of many and of close animals, scores, and the units of its loss."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.build import build_pipeline
from dlcpose.config.compose import compose
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.heads.dekr import DekrHead, DekrMaps
from dlcpose.instantiate import Instantiator
from dlcpose.losses.heatmap import binary_cross_entropy
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.input import Input
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton
from tests.heads.made_up_batches import assert_found, batch_of

NAN = float("nan")


def head_of(keypoints: int, *, stride: float = 4, in_channels: int = 30, **settings: Any) -> DekrHead:
    skeleton = Skeleton(tuple(f"keypoint_{number}" for number in range(keypoints)))
    torch.manual_seed(0)
    return DekrHead(in_channels, stride, skeleton, heatmap_loss=binary_cross_entropy, **settings).eval()


def pipeline_of(*overrides: str, keypoints: int = 17) -> PoseEstimator:
    config, parts = compose(overrides), Instantiator()
    skeleton = Skeleton(tuple(f"keypoint_{number}" for number in range(keypoints)))
    return build_pipeline(config, parts, DataDescription(skeleton, Input(64, 64), max_animals=3))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("dekr_w18", 9_740_920),
        pytest.param("dekr_w32", 29_561_182, marks=pytest.mark.slow),
        pytest.param("dekr_w48", 65_684_590, marks=pytest.mark.slow),
    ],
)
def test_sizes_are_the_published_ones(name: str, parameters: int) -> None:
    with torch.device("meta"):
        pipeline = pipeline_of(f"model={name}")
    assert sum(weight.numel() for weight in pipeline.parameters()) == parameters
    assert pipeline.head.stride == 4
    assert pipeline.head.multi_animal


@pytest.mark.parametrize("backbone", ["resnet_18", "hrnet_w32"])
def test_it_works_with_any_backbone(backbone: str) -> None:
    with torch.device("meta"):
        pipeline = pipeline_of("model=dekr_w18", f"backbone={backbone}", keypoints=1)
        maps = pipeline(torch.zeros(2, 3, 64, 96)).animals
    assert maps.offsets.shape == (2, 1, 2, 16, 24)
    assert maps.centers.shape == maps.heatmaps.shape == (2, 1, 16, 24)


@given(st.integers(0, 100_000), st.integers(1, 30), st.integers(1, 6), st.sampled_from([1, 2, 4, 8]))
def test_as_many_as_thirty_animals_come_back_exactly(seed: int, animals: int, keypoints: int, stride: int) -> None:
    """Each center in the middle of a cell of its own: beside, across, and on top of each other."""
    rng = np.random.default_rng(seed)
    height, width = 20 * stride, 28 * stride
    inner = [(x, y) for x in range(3, 25) for y in range(3, 17)]
    cells = np.array([inner[place] for place in rng.choice(len(inner), animals, replace=False)])
    centers = (cells + rng.uniform(-0.3, 0.3, (animals, 2))) * stride + (stride - 1) / 2
    around = rng.uniform(-2.5, 2.5, (animals, keypoints, 2)) * stride
    poses = centers[:, None] + around - around.mean(axis=1, keepdims=True)
    head = head_of(keypoints, stride=stride, nms_oks=0.99999)  # so small and so many, some are alike by chance
    batch = batch_of([poses, poses[:1]], (height, width))
    for pred, gt in zip(head.decode(head.encode(batch)), batch.keypoints_in_crop, strict=True):
        assert_found(pred, gt, within=1e-2 * stride)


@pytest.mark.parametrize(("skeleton", "animals"), [("quadruped", 1), ("mouse", 5), ("quadruped", 30)])
def test_rendered_animals_are_decoded_exactly(skeleton: str, animals: int) -> None:
    """Also where they cross: all but those whose centers lie in one cell, which no map can separate."""
    data = SyntheticFrames(
        frames=16,
        height=512,
        width=512,
        animals=[max(1, animals // 2), animals],
        skeleton=skeleton,
        videos=16,
        animal_length=0.4 / animals**0.5,
    )
    head = head_of(len(data.skeleton))
    separable = [poses for poses in map(of_frame, data.frames) if nearest_centers(poses) >= 6]
    assert len(separable) >= 2, "all frames have two animals' centers within a cell and a half"
    for poses in separable:
        batch = batch_of([poses], (512, 512))
        assert_found(head.decode(head.encode(batch))[0], batch.keypoints_in_crop[0], within=0.01)


def of_frame(frame: FrameLabels) -> np.ndarray:
    """Animals of a frame (N, K, 2) px of which a keypoint is labeled."""
    poses = frame.keypoints_in_image
    return poses[~np.isnan(poses).any(axis=-1).all(axis=-1)]


def nearest_centers(poses: np.ndarray) -> float:
    """The least distance between two animals' centers, px."""
    centers = np.nanmean(poses, axis=1)
    apart = np.linalg.norm(centers[:, None] - centers, axis=-1)
    return float((apart + np.where(np.eye(len(centers)), np.inf, 0.0)).min(initial=np.inf))


@pytest.mark.parametrize("apart", [0.15, 0.3, 1.0])
def test_close_animals_in_the_same_pose_are_both_kept(apart: float) -> None:
    """Side by side and alike but for their place, which is what suppression could mistake for one animal pred twice."""
    body = np.array([[-24.0, 0.0], [-8.0, 3.0], [10.0, -3.0], [24.0, 0.0]])
    length = 48.0
    poses = body + np.array([[[100.0, 60.0]], [[100.0, 60.0 + apart * length]]])
    batch = batch_of([poses], (160, 200))
    head = head_of(4)
    assert_found(head.decode(head.encode(batch))[0], batch.keypoints_in_crop[0], within=1e-2)


def test_an_animal_found_at_several_cells_is_one() -> None:
    body = np.array([[-24.0, 0.0], [-8.0, 3.0], [10.0, -3.0], [24.0, 0.0]])
    batch = batch_of([body[None] + 80.0], (160, 200))
    head = head_of(4)
    targets = head.encode(batch)
    plateau = targets._replace(
        centers=(targets.centers > 0.5).float() * 0.9
    )  # every cell near the center scores as high
    assert_found(head.decode(plateau)[0], batch.keypoints_in_crop[0], within=1e-2)


@pytest.mark.parametrize("animals", [0, 1, 7])
def test_skeletons_of_one_keypoint_are_learned_and_decoded(animals: int) -> None:
    places = np.array([[20.0 + 24 * number, 30.0 + 5 * number] for number in range(animals)]).reshape(animals, 1, 2)
    batch = batch_of([places, places[:0]], (96, 208))
    head = head_of(1)
    targets = head.encode(batch)
    losses = head.train().loss(head(torch.randn(2, 30, 24, 52)), targets)
    torch.stack(list(losses.values())).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in head.parameters())
    for pred, gt in zip(head.eval().decode(targets), batch.keypoints_in_crop, strict=True):
        assert_found(pred, gt, within=1e-2)


def test_overlapping_animals_come_back_with_the_default_settings() -> None:
    body = np.array([[-24.0, 0.0], [-8.0, 3.0], [10.0, -3.0], [24.0, 0.0]])
    places = np.array([[[60.0, 44.0]], [[64.0, 47.0]], [[57.0, 49.0]]])
    batch = batch_of([places + np.stack((body, body[:, ::-1] * (1, -1), -body))], (96, 128))
    head = head_of(4)
    assert_found(head.decode(head.encode(batch))[0], batch.keypoints_in_crop[0], within=1e-2)


@pytest.mark.parametrize("snap_radius", [0.0, 6.0])
def test_missing_keypoints_stay_missing_and_the_rest_is_exact(snap_radius: float) -> None:
    poses = np.array([[[20.3, 30.1], [NAN, NAN], [41.7, 33.3]], [[80.2, 40.9], [90.1, 60.6], [NAN, NAN]]])
    batch = batch_of([poses], (96, 128))
    head = head_of(3, snap_radius=snap_radius)
    pred = head.decode(head.encode(batch))[0]
    assert_found(pred, batch.keypoints_in_crop[0], within=0.1)
    assert pred.keypoints_in_crop.isnan().any(dim=-1).sum() == 2
    assert (pred.keypoint_scores[pred.keypoints_in_crop.isnan().any(dim=-1)] == 0).all()


def test_keypoints_outside_the_image_are_predicted() -> None:
    batch = batch_of([np.array([[[100.0, 40.0], [115.0, 42.0], [150.0, 44.0]]])], (96, 128))
    head = head_of(3)
    assert_found(head.decode(head.encode(batch))[0], batch.keypoints_in_crop[0], within=1e-2)


def test_snapping_to_peaks_corrects_inexact_offsets() -> None:
    batch = batch_of([np.array([[[30.0, 30.0], [60.0, 33.0]]])], (96, 128))
    plain, snapping = head_of(2), head_of(2, snap_radius=6.0)
    targets = plain.encode(batch)
    inexact = targets._replace(offsets=targets.offsets - 0.8)
    with pytest.raises(AssertionError):
        assert_found(plain.decode(inexact)[0], batch.keypoints_in_crop[0], within=1.0)
    assert_found(snapping.decode(inexact)[0], batch.keypoints_in_crop[0], within=0.1)


def test_scores_are_the_centers_times_the_heatmaps() -> None:
    batch = batch_of([np.array([[[30.0, 30.0], [60.0, 33.0]]])], (96, 128))
    head = head_of(2)
    targets = head.encode(batch)
    sure = head.decode(targets)[0]
    unsure = head.decode(targets._replace(centers=0.5 * targets.centers, heatmaps=0.5 * targets.heatmaps))[0]
    torch.testing.assert_close(unsure.keypoint_scores, 0.25 * sure.keypoint_scores)
    torch.testing.assert_close(sure.scores, sure.keypoint_scores.mean(dim=-1))
    assert sure.keypoint_scores.min() > 0.8
    assert len(head.decode(targets._replace(centers=0.05 * targets.centers))[0]) == 0


def test_at_most_max_animals_highest_score_first() -> None:
    places = np.array([[x, y] for x in (20.0, 60.0, 100.0) for y in (20.0, 60.0)])
    batch = batch_of([places[:, None] + np.array([[-8.0, 0.0], [8.0, 2.0]])], (96, 128))
    head = head_of(2, max_animals=4)
    pred = head.decode(head.encode(batch))[0]
    assert len(pred) == 4
    assert pred.scores.diff().le(0).all()


def test_offsets_count_in_units_of_their_animals_size() -> None:
    """The same miss in cells costs a small animal more, down to the size of the square."""
    body = np.array([[-12.0, -16.0], [12.0, 16.0]])  # 40 px: 10 cells
    costs = []
    for size in (1.0, 2.0, 0.1):
        batch = batch_of([(size * body + (64, 48))[None]], (96, 128))
        head = head_of(2, offset_weight=0.5)
        targets = head.encode(batch)
        pred = targets._replace(offsets=targets.offsets.nan_to_num(7.0) + 1.0)
        costs.append(float(head.loss(pred, targets)["offset"]))
    one_cell = 0.5 * (1 - 0.5 / 9)
    np.testing.assert_allclose(costs, [one_cell / 10, one_cell / 20, one_cell / 4], rtol=1e-4)


def test_maps_drawn_on_a_batch_with_padded_animals_are_those_without() -> None:
    pose = np.array([[[30.0, 30.0], [60.0, 33.0]]])
    head = head_of(2)
    alone = head.encode(batch_of([pose], (96, 128)))
    padded = head.encode(batch_of([pose, np.repeat(pose, 5, axis=0) + np.arange(5)[:, None, None] * 9], (96, 128)))
    for one, many in zip(alone, padded, strict=True):
        torch.testing.assert_close(one[0], many[0], equal_nan=True)


def test_it_starts_with_background() -> None:
    with torch.no_grad():
        maps: DekrMaps = head_of(3)(torch.randn(1, 30, 16, 16))
    assert maps.heatmaps.mean() == pytest.approx(0.01, abs=0.01)
    assert maps.offsets.abs().max() < 0.5
    assert math.isclose(float(maps.centers.mean()), 0.01, abs_tol=0.01)


def test_offsets_far_from_the_center_are_learned_in_few_steps() -> None:
    """Adam moves a weight by its rate in a step; twelve cells must not take a thousand of them."""
    head = head_of(2, offset_channels=4).train()
    features = torch.rand(1, 30, 12, 12)
    targets = torch.tensor([-12.0, 9.0]).view(1, 1, 2, 1, 1)  # cells
    optimizer = torch.optim.AdamW(head.offset_layers.parameters(), lr=1e-3)
    for _ in range(200):
        error = (head(features).offsets - targets).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error < 1
