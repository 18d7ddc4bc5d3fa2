"""Conditional poses: drawn where their keypoints are, and perturbed with the given kinds of error."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.codecs.pose_conditions import (
    ErrorKind,
    PoseNoise,
    background_pose,
    draw_colored,
    draw_stacked,
    move_poses,
    perturb_poses,
    rainbow,
    rng_for_frame,
)

FLIP = (0, 2, 1, 3, 4)  # of five keypoints one is on the left and one on the right
SIGMAS = (0.1, 0.08, 0.08, 0.12, 0.05)
NONE = {"jitter": 0.0, "miss": 0.0, "inversion": 0.0, "swap": 0.0, "absent": 0.0, "background": 0.0}


def crowd(seed: int, animals: int = 3, *, apart: float = 30.0, missing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, apart * animals, (animals, 1, 2))
    gt = places + rng.uniform(-25, 25, (animals, len(SIGMAS), 2))
    gt[rng.random(gt.shape[:2]) < missing] = np.nan
    return gt.astype(np.float32), rng.uniform(400, 3000, animals).astype(np.float32)


def similarity(perturbed: np.ndarray, gt: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Of each keypoint alone, by COCO's formula: (N, K)."""
    squared = ((perturbed.astype(np.float64) - gt) ** 2).sum(axis=-1)
    return np.exp(-squared / (2 * areas[:, None] * (2 * np.array(SIGMAS)) ** 2))


# ------------------------------------------------------------------------------------------------ drawing


def test_each_keypoint_is_brightest_where_it_is() -> None:
    points = torch.tensor([[[3.0, 5.0], [20.0, 11.0], [torch.nan, torch.nan]]])
    maps = draw_stacked(points, sigma=2.6, size=(24, 32))
    assert maps.shape == (1, 3, 24, 32)
    assert [divmod(int(place), 32)[::-1] for place in maps[0, :2].flatten(1).argmax(dim=1)] == [(3, 5), (20, 11)]
    assert maps[0, :2].amax(dim=(1, 2)).tolist() == [1.0, 1.0]
    assert not maps[0, 2].any()


def test_colors_of_keypoints_differ() -> None:
    points = torch.tensor([[[3.0, 5.0], [20.0, 11.0], [28.0, 20.0], [torch.nan, torch.nan]]])
    image = draw_colored(points, sigma=1.5, size=(24, 32))
    assert image.shape == (1, 3, 24, 32)
    colors = rainbow(4)
    for keypoint, (x, y) in enumerate(points[0, :3].int().tolist()):
        torch.testing.assert_close(image[0, :, y, x], colors[keypoint], atol=1e-3, rtol=0)
    apart = torch.cdist(rainbow(17), rainbow(17)) + torch.eye(17)
    assert apart.min() > 0.1
    assert ((rainbow(17) >= 0) & (rainbow(17) <= 1)).all()


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"), [("jitter", 0.5, 0.85), ("miss", 0.1, 0.5), ("none", 0.85, 1.0)]
)
def test_each_kind_is_as_far_off_as_its_similarity_says(kind: str, lowest: float, highest: float) -> None:
    gt, areas = crowd(0, animals=1)
    noise = PoseNoise(**{**NONE, **({} if kind == "none" else {kind: 0.999})})
    expected = {"jitter": ErrorKind.JITTER, "miss": ErrorKind.MISS, "none": ErrorKind.GOOD}[kind]
    seen = 0
    for seed in range(40):
        perturbed, kinds = perturb_poses(gt, areas, SIGMAS, FLIP, noise, np.random.default_rng(seed))
        near = similarity(perturbed, gt, areas)[kinds == expected]
        assert ((near >= lowest - 1e-4) & (near <= highest + 1e-4)).all()
        seen += len(near)
    assert seen > 100


@pytest.mark.parametrize("kind", ["inversion", "swap"])
def test_inversion_and_swap_lie_nearer_to_the_other_keypoint(kind: str) -> None:
    expected = {"inversion": ErrorKind.INVERSION, "swap": ErrorKind.SWAP}[kind]
    seen = 0
    for seed in range(30):
        gt, areas = crowd(seed, apart=15.0)
        noise = PoseNoise(**{**NONE, kind: 0.999})
        perturbed, kinds = perturb_poses(gt, areas, SIGMAS, FLIP, noise, np.random.default_rng(seed))
        for animal, keypoint in np.argwhere(kinds == expected):
            away = np.linalg.norm(gt - perturbed[animal, keypoint], axis=-1)  # (N, K)
            others = (
                [away[animal, FLIP[keypoint]]]
                if kind == "inversion"
                else np.delete(away[:, [keypoint, FLIP[keypoint]]], animal, axis=0).ravel()
            )
            assert min(others) <= away[animal, keypoint] + 1e-3
            assert np.isfinite(perturbed[animal, keypoint]).all()
            seen += 1
        assert set(np.unique(kinds[:, [0, 3, 4]])) <= (
            {ErrorKind.GOOD} if kind == "inversion" else {ErrorKind.GOOD, ErrorKind.SWAP}
        )
    assert seen > 30


def test_kinds_have_the_given_probabilities() -> None:
    # Far from each other, so that hardly a place is refused; near enough that one can be taken for the other.
    gt = np.array([[[0.0, 0.0], [60.0, 0.0], [60.0, 60.0], [0.0, 60.0], [30.0, 120.0]]])
    gt = np.concatenate([gt, gt + np.array([130.0, 0.0])]).astype(np.float32)
    areas, noise = np.full(2, 40_000.0), PoseNoise(jitter=0.2, miss=0.1, inversion=0.1, swap=0.1, absent=0.1)
    kinds = [
        perturb_poses(gt, areas, (0.08,) * 5, FLIP, noise, np.random.default_rng(seed)).kinds for seed in range(600)
    ]
    sided, counts = np.stack(kinds)[:, :, 1:3].ravel(), {}
    for kind in (ErrorKind.JITTER, ErrorKind.INVERSION, ErrorKind.ABSENT, ErrorKind.GOOD):
        counts[kind] = (sided == kind).mean()
    assert counts[ErrorKind.ABSENT] == pytest.approx(0.1, abs=0.03)
    assert counts[ErrorKind.INVERSION] == pytest.approx(0.09, abs=0.03)
    assert counts[ErrorKind.JITTER] == pytest.approx(0.18, abs=0.04)
    middle = np.stack(kinds)[:, :, [0, 3, 4]]
    assert not (middle == ErrorKind.INVERSION).any()  # no counterpart: the others share the probability of inversion
    assert (middle == ErrorKind.ABSENT).mean() == pytest.approx(0.1, abs=0.03)


@given(
    seed=st.integers(0, 10_000),
    animals=st.integers(0, 5),
    apart=st.sampled_from([0.0, 5.0, 60.0]),
    missing=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_unlabeled_keypoints_stay_missing_and_each_animal_keeps_a_keypoint(
    seed: int, animals: int, apart: float, missing: float
) -> None:
    gt, areas = crowd(seed, animals, apart=apart, missing=missing)
    areas[: animals // 2] = np.nan
    perturbed, kinds = perturb_poses(gt, areas, SIGMAS, FLIP, PoseNoise(absent=0.6), np.random.default_rng(seed))
    labeled = ~np.isnan(gt).any(axis=-1)
    here = ~np.isnan(perturbed).any(axis=-1)
    assert perturbed.shape == gt.shape
    assert not (here & ~labeled).any()
    assert ((kinds == ErrorKind.UNLABELED) == ~labeled).all()
    assert (here == (kinds >= 0) & (kinds != ErrorKind.ABSENT)).all()
    assert (here.any(axis=1) == labeled.any(axis=1)).all()
    # Good, jittered and inverted places are nearest to what they were drawn around.
    for animal, keypoint in np.argwhere((kinds == ErrorKind.GOOD) | (kinds == ErrorKind.JITTER)):
        pair = [keypoint, FLIP[keypoint]]
        away = np.linalg.norm(gt[:, pair].astype(np.float64) - perturbed[animal, keypoint], axis=-1)
        own = np.linalg.norm(gt[animal, keypoint].astype(np.float64) - perturbed[animal, keypoint])
        assert own <= np.nanmin(away) + 1e-3


def test_the_same_rng_gives_the_same_poses() -> None:
    gt, areas = crowd(3)
    one, again, other = (
        perturb_poses(gt, areas, SIGMAS, FLIP, PoseNoise(), rng_for_frame(key, 0)).keypoints for key in ("a", "a", "b")
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(np.nan_to_num(one), np.nan_to_num(other))


def test_background_poses_lie_apart_from_all_animals() -> None:
    gt, _ = crowd(0)
    perturbed = 0
    for seed in range(20):
        pose = background_pose(gt[0], gt, (200, 300), np.random.default_rng(seed))
        if pose is not None:
            known = gt[0]
            room = (known.max(axis=0) - known.min(axis=0)).max() / 2
            middle = (pose.min(axis=0) + pose.max(axis=0)) / 2
            assert np.linalg.norm(gt - middle, axis=-1).min() > room - 1e-3
            np.testing.assert_allclose(pose - pose[0], gt[0] - gt[0, 0], atol=1e-3)
            perturbed += 1
    assert perturbed > 5
    packed = np.stack(np.meshgrid(np.arange(0, 40, 2.0), np.arange(0, 40, 2.0)), axis=-1).reshape(1, -1, 2)
    assert background_pose(gt[0], packed, (40, 40), np.random.default_rng(0)) is None


@pytest.mark.parametrize("wrong", [{"jitter": -0.1}, {"background": 1.0}, {"jitter": 0.6, "miss": 0.6}])
def test_values_that_are_no_probabilities_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="jitter"):
        PoseNoise(**wrong)


# ------------------------------------------------------------------------------------------------ moved as a whole


@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.4, 1.0]))
def test_a_moved_pose_keeps_its_shape(seed: int, share: float) -> None:
    gt, areas = crowd(seed, missing=0.3)
    gt = gt[~np.isnan(gt).all(axis=(1, 2))]
    poses = perturb_poses(gt, areas[: len(gt)], SIGMAS, FLIP, PoseNoise(), np.random.default_rng(seed)).keypoints
    moved = move_poses(poses, gt, share, np.random.default_rng(seed))
    apart = [np.linalg.norm(each[:, :, None] - each[:, None], axis=-1) for each in (poses, moved)]
    np.testing.assert_allclose(apart[1], apart[0], atol=1e-3)
    if share == 0:
        np.testing.assert_allclose(moved, poses, atol=1e-4)


def test_as_many_poses_move_as_far_as_said() -> None:
    """An eighth of the animal's length along each axis, and 11 degrees, whatever its size."""
    rng = np.random.default_rng(0)
    body = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.2]])
    lengths = rng.uniform(20, 200, 4000)
    gt = body * lengths[:, None, None] + rng.uniform(0, 500, (4000, 1, 2))
    moved = move_poses(gt, gt, 0.5, rng)
    middle = (gt[:, 0] + gt[:, 1]) / 2 + 0.1 * lengths[:, None] * [0, 1]  # of the box, which the pose is turned around
    at = (moved[:, 0] + moved[:, 1]) / 2
    along = (moved[:, 1] - moved[:, 0]) / lengths[:, None]
    angles = np.arctan2(along[:, 1], along[:, 0])
    is_moved = np.abs(moved - gt).max(axis=(1, 2)) > 1e-3
    assert is_moved.mean() == pytest.approx(0.5, abs=0.03)
    assert angles[is_moved].std() == pytest.approx(0.2, rel=0.1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    shifts = (at + 0.1 * lengths[:, None] * across - middle) / lengths[:, None]
    assert np.abs(shifts[~is_moved]).max() < 1e-4
    np.testing.assert_allclose(shifts[is_moved].std(axis=0), 0.12, rtol=0.1)
