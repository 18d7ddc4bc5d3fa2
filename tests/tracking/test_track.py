"""Laws of tracking: names stay, tracks are never too many, and the order of detections means nothing."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.skeleton import Skeleton
from dlcpose.tracking.detections import usual_score
from dlcpose.tracking.result import TrackingResult, swap_candidates
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.track import track
from tests.structures.made_up_tracks import made_up_tracks
from tests.tracking.noisy_poses import (
    GroundTruth,
    Noise,
    Noisy,
    noisy_poses,
    poses_in_columns,
    rendered_ground_truth,
)

EXACT = Noise(0.01, *[0.0] * 9)
SKELETON = Skeleton(("nose", "left", "right", "tail"), edges=((0, 1), (0, 2), (1, 3), (2, 3)), pairs=((1, 2),))
SHAPE = np.array([[20, 0], [0, -8], [0, 8], [-20, 0]], float)


def walks(animals: int, frames: int, seed: int, *, apart: float = 150.0) -> GroundTruth:
    """Equal animals, each on a loop of its own; the middles of the loops are `apart` px from each other."""
    rng = np.random.default_rng(seed)
    phase, speed = rng.uniform(0, 6.3, animals), rng.uniform(0.03, 0.08, animals)
    angles = phase + speed * np.arange(frames)[:, None]  # (T, N)
    middles = np.stack([np.arange(animals) * apart + 100, np.full(animals, 100.0)], axis=-1)
    centers = middles + 40 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    turned = SHAPE[:, 0, None] * np.stack([-np.sin(angles), np.cos(angles)], -1)[..., None, :]
    turned = turned + SHAPE[:, 1, None] * np.stack([np.cos(angles), np.sin(angles)], -1)[..., None, :]
    points = centers[:, :, None] + turned
    return GroundTruth(points, np.zeros(points.shape[:3], bool), SKELETON, 200, round(animals * apart + 100))


def sources_of(result: TrackingResult, noisy: Noisy) -> Any:
    """The true animal in each column, -1 for a false positive and -2 where there is none: (T, N)."""
    there = np.take_along_axis(noisy.sources, np.maximum(result.columns, 0), axis=1)
    return np.where(result.columns >= 0, there, -2)


def assert_names_stay(result: TrackingResult, noisy: Noisy) -> None:
    sources = sources_of(result, noisy)
    found = [set(column[column >= 0].tolist()) for column in sources.T]
    assert all(len(animals) <= 1 for animals in found), found
    assert len(set().union(*found)) == sum(map(len, found)), found


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    animals=st.integers(2, 5),
    missing=st.integers(1, 150),
    begin=st.integers(20, 60),
    who=st.integers(0, 4),
)
def test_an_animal_that_vanishes_and_comes_back_keeps_its_name_and_so_do_the_others(
    seed: int, animals: int, missing: int, begin: int, who: int
) -> None:
    gt = walks(animals, 240, seed)
    gt.keypoints_in_image[begin : begin + missing, who % animals] = np.nan
    noisy = noisy_poses(gt, EXACT, seed=seed)
    result = track(noisy.poses, TrackingSettings(animals=animals))
    assert_names_stay(result, noisy)
    assert result.left_out == 0
    away = sources_of(result, noisy)[begin : begin + missing]
    assert (away != who % animals).all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(3, 40))
def test_two_animals_that_vanish_one_after_the_other_keep_their_names(seed: int, k: int) -> None:
    """A tracker that joins single breaks gives the first one's name to the second (SLEAP #2618)."""
    gt = walks(3, 240, seed)
    gt.keypoints_in_image[60 : 60 + k, 0] = np.nan
    gt.keypoints_in_image[60 + k // 2 : 60 + 2 * k, 1] = np.nan
    noisy = noisy_poses(gt, EXACT, seed=seed)
    assert_names_stay(track(noisy.poses, TrackingSettings(animals=3)), noisy)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), allowed=st.integers(1, 3))
def test_there_are_never_more_tracks_than_animals(seed: int, allowed: int) -> None:
    noisy = noisy_poses(walks(4, 120, seed), replace(EXACT, false_positives=0.3, missing_animals=0.1), seed=seed)
    result = track(noisy.poses, TrackingSettings(animals=allowed))
    assert result.tracks.keypoints_in_image.shape[1] == len(result.tracks.individuals) == allowed
    assert result.left_out == result.detections - (result.columns >= 0).sum()
    assert 0 < result.crowded <= result.left_out
    assert_names_stay(result, noisy)


def test_too_few_animals_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    noisy = noisy_poses(walks(3, 60, 0), EXACT)
    with caplog.at_level(logging.WARNING):
        result = track(noisy.poses, TrackingSettings(animals=2))
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"{result.left_out} of {result.detections} detections" in message
    assert result.left_out == 60


def test_a_detection_is_in_one_track_at_most_and_is_left_as_it_was() -> None:
    noisy = noisy_poses(rendered_ground_truth(animals=3, frames=200, seed=1), seed=1)
    result = track(noisy.poses, TrackingSettings(animals=3))
    for row, columns in enumerate(result.columns):
        used = columns[columns >= 0]
        assert len(set(used.tolist())) == len(used)
        for name in ("keypoints_in_image", "keypoint_scores", "scores"):
            np.testing.assert_array_equal(
                getattr(result.tracks, name)[row][columns >= 0], getattr(noisy.poses, name)[row][used]
            )
    assert np.isnan(result.tracks.keypoints_in_image[result.columns < 0]).all()
    assert result.tracks.is_tracked


def shuffled(poses: PoseTracks, seed: int) -> PoseTracks:
    rng = np.random.default_rng(seed)
    order = np.stack([rng.permutation(len(poses.individuals)) for _ in range(len(poses))])
    rows = np.arange(len(poses))[:, None]
    each = ("keypoints_in_image", "keypoint_scores", "scores", "boxes_in_image", "identities")
    return replace(poses, **{name: getattr(poses, name)[rows, order] for name in each})


def test_the_order_of_detections_in_a_frame_means_nothing() -> None:
    poses = noisy_poses(rendered_ground_truth(animals=3, frames=300, seed=2), seed=2).poses
    first = track(poses, TrackingSettings(animals=3)).tracks
    second = track(shuffled(poses, 0), TrackingSettings(animals=3)).tracks
    # Up to the order of the names: each track is there again.
    ours, theirs = (np.nan_to_num(each.keypoints_in_image, nan=-1) for each in (first, second))
    same = (ours[:, :, None] == theirs[:, None]).all(axis=(0, 3, 4))
    assert (same.sum(axis=1) == 1).all()
    assert (same.sum(axis=0) == 1).all()


def test_the_same_poses_give_the_same_tracks() -> None:
    poses = noisy_poses(rendered_ground_truth(animals=3, frames=300, seed=3), seed=3).poses
    first, second = (track(poses, TrackingSettings(animals=3)) for _ in range(2))
    np.testing.assert_array_equal(first.columns, second.columns)
    assert first.doubtful == second.doubtful


def test_predicted_identities_name_the_tracks() -> None:
    noisy = noisy_poses(rendered_ground_truth(animals=3, frames=400, seed=4), seed=4)
    rng = np.random.default_rng(0)
    is_wrong = rng.random(noisy.sources.shape) < 0.25
    guessed = np.where(is_wrong, rng.integers(0, 3, noisy.sources.shape), noisy.sources)
    named = replace(noisy.poses, identities=np.where(noisy.sources >= 0, guessed, -1))
    sources = sources_of(track(named, TrackingSettings(animals=3)), noisy)
    for animal in range(3):
        known = sources[:, animal][sources[:, animal] >= 0]
        assert (known == animal).mean() > 0.95


def test_mice_that_cross_keep_their_names() -> None:
    noisy = noisy_poses(rendered_ground_truth(animals=3, frames=1500, seed=5), seed=5)
    result = track(noisy.poses, TrackingSettings(animals=3))
    sources = sources_of(result, noisy)
    for column in sources.T:
        known = column[column >= 0]
        # While two are detected as one, either may have the detection.
        assert np.bincount(known).max() / len(known) > 0.95
    assert result.left_out < 0.02 * result.detections


def test_a_meeting_that_cannot_be_decided_is_the_first_on_the_list() -> None:
    """Two equal animals come together, are found as one for 40 frames, and part at right angles to where they came from."""
    frames, middle = 200, 100
    displacement = np.clip(np.abs(np.arange(frames) - middle) - 20, 0, None) * 1.5
    points = np.full((frames, 3, 4, 2), np.nan)
    for animal, sign in ((0, -1), (1, 1)):
        for frame in range(frames):
            axis = np.array([sign, 0]) if frame < middle else np.array([0, sign])
            points[frame, animal] = SHAPE + np.array([300, 300]) + axis * displacement[frame]
    points[:, 2] = SHAPE + np.array([600, 600])
    points[middle - 20 : middle + 20, 1] = np.nan
    noisy = noisy_poses(GroundTruth(points, np.zeros(points.shape[:3], bool), SKELETON, 700, 700), EXACT)
    settings_ = TrackingSettings(animals=3)
    result = track(noisy.poses, settings_)
    likely = swap_candidates(result, settings_.review_frames)
    likeliest = likely[0]
    sources = sources_of(result, noisy)
    columns = {int(np.flatnonzero(sources[10] == animal)[0]) for animal in (0, 1)}
    assert {likeliest.a, likeliest.b} == columns
    assert middle - 21 <= likeliest.frame <= middle + 22
    assert likeliest.from_frame <= likeliest.frame <= likeliest.to_frame
    assert len(likely) <= 2
    assert [each.margin for each in likely] == sorted(each.margin for each in likely)


@pytest.mark.parametrize("step", [1, 3])
def test_a_prediction_of_every_third_frame_is_tracked_as_one_of_every_frame(step: int) -> None:
    noisy = noisy_poses(walks(3, 120, 6), EXACT)
    poses = replace(noisy.poses, frame_indices=noisy.poses.frame_indices * step)
    assert_names_stay(track(poses, TrackingSettings(animals=3)), noisy)


def test_frames_without_any_animal_are_no_trouble() -> None:
    gt = walks(2, 100, 7)
    gt.keypoints_in_image[40:50] = np.nan
    gt.keypoints_in_image[:5] = np.nan
    noisy = noisy_poses(gt, EXACT)
    result = track(noisy.poses, TrackingSettings(animals=2))
    assert_names_stay(result, noisy)
    assert (result.columns[40:50] == -1).all()


@pytest.mark.parametrize("frames", [1, 2])
def test_a_frame_or_two_are_enough(frames: int) -> None:
    noisy = noisy_poses(walks(2, frames, 8), EXACT, spare=0)
    result = track(noisy.poses)
    assert (result.columns >= 0).all()
    assert_names_stay(result, noisy)


def test_more_columns_than_the_poses_have_get_names_of_their_own() -> None:
    result = track(noisy_poses(walks(2, 30, 9), EXACT, spare=0).poses, TrackingSettings(animals=4))
    assert len(set(result.tracks.individuals)) == 4


def test_poses_without_an_animal_are_refused() -> None:
    poses = noisy_poses(walks(2, 10, 10), EXACT).poses
    with pytest.raises(DataError, match=r"rendered\.mp4"):
        track(poses, TrackingSettings(min_score=1.0))


def test_a_thing_that_looks_a_little_like_an_animal_takes_no_place_of_one() -> None:
    truth = walks(2, 100, 11)
    points = np.concatenate([truth.keypoints_in_image, np.full((100, 1, len(SKELETON), 2), np.nan)], axis=1)
    points[20:80, 2] = SHAPE + np.array([20, 20])
    points[20:80, 0] = np.nan  # an animal that is not found for a while
    poses = poses_in_columns(truth._replace(keypoints_in_image=points), np.tile([0, 1, 2], (100, 1)))
    assert usual_score(poses, 2) == usual_score(poses, 3) == pytest.approx(np.median(poses.scores[poses.is_present]))
    scores = poses.scores.copy()
    scores[:, 2] *= 0.15
    poses = replace(poses, scores=scores)
    settings_ = TrackingSettings(animals=2)
    result = track(poses, settings_)
    assert (result.weak, result.detections) == (60, 140)
    assert (result.columns != 2).all()
    everything = track(poses, replace(settings_, min_score=0.0))
    assert (everything.weak, everything.detections) == (0, 200)
    assert (everything.columns == 2).any()
    # Where all are alike, none is weak.
    assert track(replace(poses, scores=np.full_like(scores, 0.05)), settings_).weak == 0


def with_a_thing(frames: int, seen: Any, score: float, seed: int = 12) -> PoseTracks:
    """Two animals that walk, and in `seen` frames a thing at one place, its score in units of theirs; the first animal is not
    found from frame 100 to 160."""
    truth = walks(2, frames, seed)
    points = np.concatenate([truth.keypoints_in_image, np.full((frames, 1, len(SKELETON), 2), np.nan)], axis=1)
    points[seen, 2] = SHAPE + np.array([20, 20])
    points[100:160, 0] = np.nan
    poses = poses_in_columns(truth._replace(keypoints_in_image=points), np.tile([0, 1, 2], (frames, 1)))
    scores = poses.scores.copy()
    scores[:, 2] *= score
    return replace(poses, scores=scores)


def test_a_thing_that_keeps_its_place_is_no_animal() -> None:
    seen = np.concatenate([np.arange(90), np.arange(100, 160)])
    poses = with_a_thing(240, seen, 0.4)
    result = track(poses, TrackingSettings(animals=2))
    assert (result.weak, result.fixed, result.detections) == (0, len(seen), 2 * 240 - 60)
    assert (result.columns != 2).all()
    assert len(set(result.columns[:, :2][result.columns[:, :2] >= 0].tolist())) == 2
    everything = track(poses, TrackingSettings(animals=2, min_score=0.0))
    assert (everything.fixed, everything.detections) == (0, 2 * 240 - 60 + len(seen))
    assert (everything.columns == 2).any()


@pytest.mark.parametrize(
    ("animals", "score", "frames"),
    [
        (2, 0.9, 240),  # it scores as an animal does: one that rests
        (3, 0.4, 240),  # there are three animals
        (2, 0.4, 40),  # seen too rarely to tell
    ],
)
def test_what_may_be_an_animal_is_kept(animals: int, score: float, frames: int) -> None:
    poses = with_a_thing(240, np.arange(frames), score)
    assert track(poses, TrackingSettings(animals=animals)).fixed == 0


def test_an_animal_that_passes_a_thing_is_kept() -> None:
    poses = with_a_thing(240, np.arange(240), 0.4)
    passing = poses.keypoints_in_image.copy()
    passing[200:210, 1] = SHAPE + np.array([20, 20])
    result = track(replace(poses, keypoints_in_image=passing), TrackingSettings(animals=2))
    assert result.fixed == 240
    assert (result.columns[200:210] == 1).any(axis=1).all()


@pytest.mark.parametrize(
    ("name", "value"), [("animals", 0), ("animals", 10**21), ("min_similarity", 1.5), ("max_gap", 0), ("beam", 1)]
)
def test_a_setting_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"tracking.{name}"):
        TrackingSettings(**{name: value})  # type: ignore[arg-type]


def test_a_false_detection_makes_no_more_animals_than_the_model_knows() -> None:
    truth = walks(2, 60, 0)
    points = np.full((60, 3, len(SKELETON), 2), np.nan)
    points[:, :2] = truth.keypoints_in_image
    points[30, 2] = points[30, 0] + 60  # in one frame only
    columns = np.tile([0, 1, -1], (60, 1))
    columns[30, 2] = 2
    made = poses_in_columns(truth._replace(keypoints_in_image=points), columns)
    poses = replace(made, individuals=("animal1", "animal2", "animal3"))
    assert track(poses, individuals=("black", "white")).tracks.individuals == ("black", "white")
    assert track(poses, individuals=[f"track{number}" for number in range(58)]).tracks.individuals == poses.individuals
    four = track(poses, TrackingSettings(animals=4), individuals=("black", "white")).tracks
    assert four.individuals == (*poses.individuals, "animal4")
    assert track(poses).tracks.individuals == poses.individuals


def test_looks_that_know_nothing_leave_the_tracks_as_they_are() -> None:
    poses = noisy_poses(rendered_ground_truth(animals=2, frames=60)).poses
    forced = TrackingSettings(animals=2, appearance=True)
    result = track(poses, forced, lambda detections, _: np.full((len(detections), 8), np.nan))
    without = track(poses, TrackingSettings(animals=2, appearance=False))
    np.testing.assert_array_equal(result.columns, without.columns)
    assert "appearance" not in result.seconds
    known = track(poses, forced, lambda detections, _: np.zeros((len(detections), 8)))
    assert "appearance" in known.seconds


def test_thousands_of_animals_in_a_frame_are_refused_before_they_are_compared() -> None:
    with pytest.raises(DataError, match=r"at most 1000 animals in a frame, got 3000"):
        track(made_up_tracks(frames=2, animals=3000, missing=0.0, is_tracked=False))
