"""Looks are learned from the video's own tracklets: animals of other colors come apart, and crops are turned to the pose."""

import logging

import numpy as np
import pytest
import torch

from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.structures.errors import DataError
from dlcpose.tracking import appearance
from dlcpose.tracking.appearance import aligned_crops, contrastive_loss, different_animals, learn_looks, mean_pose
from dlcpose.tracking.detections import detections_of
from dlcpose.tracking.evidence import evidence_of
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.tracklets import tracklets_of
from tests.datasets.numbered_videos import as_frames
from tests.tracking.noisy_poses import Noise, noisy_poses, rendered_ground_truth

FRAMES, SIDE = 200, 128
EXACT = Noise(0.01, *[0.0] * 9)


@pytest.fixture(scope="module")
def marked() -> SyntheticFrames:
    return SyntheticFrames(
        frames=FRAMES, animals=2, skeleton="mouse", videos=1, coming_and_going=False, roam=0.46, occlusion=0.0, seed=4,
        animal_length=0.25, seconds_between_frames=0.04, height=SIDE, width=SIDE, identity_marks=True,
    )  # fmt: skip


def test_animals_of_other_colors_come_apart(marked: SyntheticFrames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appearance, "STEPS", 40)
    gt = rendered_ground_truth(
        animals=2, frames=FRAMES, seed=4, height=SIDE, width=SIDE, animal_length=0.25, identity_marks=True
    )
    noisy = noisy_poses(gt, EXACT)
    detections = detections_of(noisy.poses)
    tracklets = tracklets_of(detections, gt.skeleton, TrackingSettings())
    frames, shown = lambda: as_frames(map(marked.read_image, range(FRAMES))), []
    looks = learn_looks(
        frames, noisy.poses.frame_indices, progress=lambda stage, done, total: shown.append((stage, done, total))
    )
    features = looks(detections, tracklets)
    assert [count for _, *count in shown] == [
        *([done + 1, FRAMES] for done in range(FRAMES)),
        *([done + 1, 40] for done in range(40)),
    ]
    assert len({stage for stage, _, _ in shown}) == 2
    again = looks(detections, tracklets)
    np.testing.assert_array_equal(features, again)
    known = ~np.isnan(features).any(axis=1)
    assert known.mean() > 0.8
    animals = noisy.sources[detections.rows, detections.columns]
    means = np.stack([features[known & (animals == animal)].mean(axis=0) for animal in (0, 1)])
    spread = np.stack([features[known & (animals == animal)].std(axis=0) for animal in (0, 1)])
    assert np.linalg.norm(means[0] - means[1]) > 3 * np.linalg.norm(spread.mean(axis=0))
    evidence = evidence_of(features, tracklets.members, detections.steps)
    assert evidence.sums.shape[1] >= 1


def test_crops_show_an_animal_alike_wherever_it_is_and_however_it_is_turned() -> None:
    """A bar with a bright head, at five places and angles: every crop is about the first."""
    rng = np.random.default_rng(0)
    images, points = [], []
    along = np.linspace(-20, 20, 5)
    ys, xs = np.mgrid[:160, :160]
    for _ in range(6):
        center, angle = rng.uniform(50, 110, 2), rng.uniform(0, 6.3)
        axis = np.array([np.cos(angle), np.sin(angle)])
        away = np.stack([xs, ys], -1) - center
        on = away @ axis
        side = away @ np.array([-axis[1], axis[0]])
        brightness = np.where((np.abs(on) < 22) & (np.abs(side) < 6), 90 + 5 * on, 0)
        images.append(np.repeat(brightness.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))
        points.append(center + along[:, None] * axis)
    poses = np.stack(points)[:, None]  # (T, 1, K, 2)
    from dlcpose.structures.skeleton import Skeleton
    from tests.tracking.noisy_poses import GroundTruth

    gt = GroundTruth(poses, np.zeros(poses.shape[:3], bool), Skeleton(tuple("abcde")), 160, 160)
    noisy = noisy_poses(gt, Noise(0.0, *[0.0] * 9), spare=0)
    detections = detections_of(noisy.poses)
    cut, _ = aligned_crops(as_frames(images), noisy.poses.frame_indices, detections, np.arange(6))
    crops = cut.astype(float)
    assert crops[0].max() > 100
    for crop in crops[1:]:
        assert np.abs(crop - crops[0]).mean() < 0.06 * crops[0].max()
    assert mean_pose(detections).shape == (5, 2)


def test_crops_behind_a_frame_that_is_missing_are_of_the_frames_of_their_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame n is as bright as n; 27 could not be decoded, so that its detections have no looks."""
    noisy = noisy_poses(rendered_ground_truth(animals=2, frames=60, seed=4), EXACT)
    detections = detections_of(noisy.poses)
    chosen = np.arange(len(detections))
    gray = [np.full((64, 64, 3), number, np.uint8) for number in range(60)]
    indices = noisy.poses.frame_indices
    crops, is_cut = aligned_crops(as_frames(gray, missing=[27]), indices, detections, chosen)
    frames = indices[detections.rows]
    np.testing.assert_array_equal(is_cut, frames != 27)
    np.testing.assert_array_equal(crops[is_cut].reshape(is_cut.sum(), -1).max(axis=1), frames[is_cut])
    tracklets = tracklets_of(detections, noisy.poses.skeleton, TrackingSettings())
    monkeypatch.setattr(appearance, "STEPS", 2)
    features = learn_looks(lambda: as_frames(gray, missing=[27]), indices)(detections, tracklets)
    is_used = ~np.isnan(features).any(axis=1)
    assert not is_used[frames == 27].any()
    assert is_used[frames != 27].mean() > 0.8


def test_the_loss_is_nothing_once_the_same_are_near_and_others_far() -> None:
    anchors = torch.zeros(4, 8)
    near, far = torch.full((4, 8), 0.1), torch.full((4, 8), 3.0)
    assert contrastive_loss(anchors, near, far) == 0
    assert contrastive_loss(anchors, far, near) > 1


def test_only_tracklets_at_one_time_are_different_animals() -> None:
    noisy = noisy_poses(rendered_ground_truth(animals=3, frames=150, seed=1), seed=1)
    detections = detections_of(noisy.poses)
    tracklets = tracklets_of(detections, noisy.poses.skeleton, TrackingSettings())
    animals = noisy.sources[detections.rows, detections.columns]
    pairs = different_animals(detections, tracklets)
    assert len(pairs)
    for a, b in pairs:
        first, second = (set(detections.steps[tracklets.members[each]].tolist()) for each in (a, b))
        assert max(first) > min(second)
        assert max(second) > min(first)
        assert (
            np.bincount(animals[tracklets.members[a]] + 1).argmax()
            != np.bincount(animals[tracklets.members[b]] + 1).argmax()
        )


def test_single_animal_warns_and_short_video_is_refused(
    marked: SyntheticFrames, caplog: pytest.LogCaptureFixture
) -> None:
    alone = noisy_poses(rendered_ground_truth(animals=1, frames=40), EXACT, spare=0).poses
    detections = detections_of(alone)
    tracklets = tracklets_of(detections, alone.skeleton, TrackingSettings())
    with caplog.at_level(logging.WARNING):
        features = learn_looks(lambda: as_frames([]), alone.frame_indices)(detections, tracklets)
    assert np.isnan(features).all()
    assert "appearance" in caplog.text
    with pytest.raises(DataError, match="video ends"):
        aligned_crops(
            as_frames(map(marked.read_image, range(5))), alone.frame_indices, detections, np.arange(len(detections))
        )
