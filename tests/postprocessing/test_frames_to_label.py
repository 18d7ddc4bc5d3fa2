from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dlcpose.postprocessing.frames_to_label import (
    choose_diverse,
    pool_of_frames,
    pose_features,
    rank_frames,
    rate_frames,
)
from dlcpose.structures.pose_tracks import PoseTracks
from tests.structures.made_up_tracks import made_up_tracks


def calm(frames: int = 100, animals: int = 2, **options: Any) -> PoseTracks:
    """Animals far from each other that move slowly, predicted surely."""
    tracks = made_up_tracks(frames=frames, animals=animals, missing=0.0, size=(480, 640), **options)
    rng = np.random.default_rng(0)
    shape = np.array([[0.0, -20.0], [-15.0, 0.0], [15.0, 0.0], [0.0, 30.0]])
    middles = 100 + 150 * np.arange(animals)[None, :, None] + np.sin(np.arange(frames) / 20)[:, None, None] * 30
    points = middles[:, :, None] + shape + rng.normal(0, 0.2, (frames, animals, 4, 2))
    scores = np.full((frames, animals, 4), 0.9, np.float32)
    return replace(tracks, keypoints_in_image=points.astype(np.float32), keypoint_scores=scores)


def with_values(tracks: PoseTracks, name: str, row: Any, value: Any) -> PoseTracks:
    changed = getattr(tracks, name).copy()
    changed[row] = value
    return replace(tracks, **{name: changed})


def test_a_frame_with_low_scores_is_found() -> None:
    tracks = with_values(calm(), "keypoint_scores", (40, 1), 0.1)
    rated = rate_frames(tracks)["low confidence"]
    assert rated.argmax() == 40
    assert rated[40] == pytest.approx(0.9)


def test_frames_in_which_nothing_is_wrong_have_no_other_reason_than_diversity() -> None:
    nothing = with_values(calm(frames=5), "keypoints_in_image", slice(None), np.nan)
    nothing = with_values(nothing, "keypoint_scores", slice(None), 0)
    worth, names = rank_frames(rate_frames(nothing))
    assert not worth.any()
    assert names == ["diversity"] * 5


def test_a_frame_without_one_of_the_animals_is_found() -> None:
    tracks = with_values(calm(), "keypoints_in_image", (40, 1), np.nan)
    rated = rate_frames(tracks)["missing animal"]
    np.testing.assert_array_equal(np.flatnonzero(rated), [40])
    assert rated[40] == 0.5


def test_a_keypoint_that_jumps_away_and_back_is_found_in_its_frame() -> None:
    tracks = calm()
    tracks = with_values(tracks, "keypoints_in_image", (40, 1, 2), tracks.keypoints_in_image[40, 1, 2] + 60)
    rated = rate_frames(tracks)["jump"]
    assert rated.argmax() == 40
    assert rated[40] > 0.5 > 0.1 > np.delete(rated, [39, 40, 41]).max()


def test_jumps_are_measured_only_between_frames_that_follow_each_other() -> None:
    tracks = calm(frames=100)
    later = np.arange(100) + 1000 * (np.arange(100) >= 50)
    points = tracks.keypoints_in_image.copy()
    points[50:] += 80
    moved = replace(tracks, keypoints_in_image=points)
    assert rate_frames(moved)["jump"].max() > 0.5
    assert rate_frames(replace(moved, frame_indices=later, times=later / 25.0))["jump"].max() < 0.1


def test_a_keypoint_that_is_rarely_seen_does_not_jump_by_its_usual_motion() -> None:
    tracks = calm(frames=400, animals=1)
    points = tracks.keypoints_in_image + np.random.default_rng(1).normal(0, 4, (400, 1, 4, 2)).astype(np.float32)
    often = rate_frames(replace(tracks, keypoints_in_image=points))["jump"]
    points[20:, :, 3] = np.nan  # the rows in which it is missing say nothing about how it moves
    rarely = rate_frames(replace(tracks, keypoints_in_image=points))["jump"]
    assert rarely.max() <= often.max()


def test_two_animals_that_swap_or_lie_on_each_other_are_found() -> None:
    tracks = calm()
    points = tracks.keypoints_in_image.copy()
    points[60:] = points[60:, ::-1]
    swapped = rate_frames(replace(tracks, keypoints_in_image=points))["crossing"]
    assert swapped[60] == 1
    assert np.delete(swapped, 60).max() < 0.3
    on_top = tracks.keypoints_in_image.copy()
    on_top[30, 1] = on_top[30, 0] + 3
    for is_tracked in (True, False):
        rated = rate_frames(replace(tracks, keypoints_in_image=on_top, is_tracked=is_tracked))["crossing"]
        assert rated[30] > 0.5
        assert np.delete(rated, [30, 31]).max() < 0.3


def test_a_frame_on_which_an_ensemble_disagrees_is_found() -> None:
    tracks = calm()
    spreads = np.full(tracks.keypoint_scores.shape, 0.5, np.float32)
    spreads[70, 0] = 40
    spreads[5, 1] = np.nan
    rated = rate_frames(replace(tracks, keypoint_spreads=spreads))["disagreement"]
    assert rated.argmax() == 70
    assert rated[70] > 0.5 > np.delete(rated, 70).max()


def test_unavailable_reasons_are_left_out() -> None:
    assert set(rate_frames(calm(animals=1))) == {"low confidence", "missing animal", "jump"}
    assert set(rate_frames(calm(is_tracked=False))) == {"low confidence", "missing animal", "crossing"}


@pytest.mark.parametrize(("frames", "animals"), [(0, 2), (1, 2), (2, 2), (20, 0)])
def test_every_reason_is_a_share_whatever_the_poses(frames: int, animals: int) -> None:
    for tracks in (made_up_tracks(frames=frames, animals=animals), made_up_tracks(frames=frames, missing=1.0)):
        for values in rate_frames(tracks).values():
            assert values.shape == (frames,)
            assert ((values >= 0) & (values <= 1)).all()


def test_a_reason_counts_by_its_rank_and_one_that_is_everywhere_singles_out_none() -> None:
    reasons = {"a": np.array([0.9, 0.9, 0.9, 0.9]), "b": np.array([0, 0, 1e-3, 0.0])}
    worth, names = rank_frames(reasons)
    assert worth.argmax() == 2
    assert names[2] == "b"
    assert worth[0] == worth[1] == worth[3]


def test_the_pool_holds_the_worthiest_but_no_excluded_frame_and_no_neighbors() -> None:
    tracks = calm(frames=5000)
    worth = np.random.default_rng(0).random(5000)
    worth[100:130] = 1.0
    excluded = np.array([100, 3000])
    pool = pool_of_frames(tracks, worth, excluded, 5)
    assert len(pool) == 50
    assert np.diff(pool).min() >= 25
    assert not set(pool) & set(excluded)
    assert worth[pool].min() > 0.9


def test_no_neighbors_of_a_short_video_either() -> None:
    worth = np.append([1.0, 0.9, 0.8], np.zeros(21))
    pool = pool_of_frames(calm(frames=24), worth, np.zeros(0), 4)
    assert 0 in pool
    assert len(pool) >= 4
    assert np.diff(pool).min() >= 2


def test_a_short_video_gives_what_it_has() -> None:
    tracks = calm(frames=12)
    pool = pool_of_frames(tracks, np.arange(12) / 12, np.array([3, 4]), 20)
    np.testing.assert_array_equal(pool, [0, 1, 2, 5, 6, 7, 8, 9, 10, 11])
    assert len(pool_of_frames(calm(frames=0), np.zeros(0), np.zeros(0), 3)) == 0


def test_each_kind_of_frame_is_chosen_and_of_each_the_worthiest() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, 80)
    features = rng.normal(0, 0.05, (80, 6)) + 5 * np.eye(6)[kinds]
    worth = rng.random(80)
    chosen = choose_diverse(features, worth, 4, np.random.default_rng(1))
    assert sorted(kinds[chosen]) == [0, 1, 2, 3]
    for place in chosen:
        assert worth[place] == worth[kinds == kinds[place]].max()


@pytest.mark.parametrize("features", [np.zeros((30, 4)), np.random.default_rng(0).random((30, 4))])
def test_requested_number_is_chosen_even_of_identical_frames(features: np.ndarray) -> None:
    chosen = choose_diverse(features, np.arange(30.0), 12, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 12
    assert len(choose_diverse(features, np.arange(30.0), 40, np.random.default_rng(0))) == 30


def test_features_of_poses_are_finite_and_tell_poses_apart() -> None:
    tracks = made_up_tracks(frames=30, missing=0.4)
    features = pose_features(tracks, np.arange(0, 30, 2))
    assert np.isfinite(features).all()
    assert features.std(axis=0).min() > 0


def test_faults_of_every_kind_are_among_the_frames_chosen() -> None:
    tracks = calm(frames=1000)
    points, scores = tracks.keypoints_in_image.copy(), tracks.keypoint_scores.copy()
    points[200, 0, 1] += 70
    points[400:420] = points[400:420, ::-1]
    scores[600, 1] = 0.2
    points[800, 0], scores[800, 0] = np.nan, 0
    tracks = replace(tracks, keypoints_in_image=points, keypoint_scores=scores)
    worth, _ = rank_frames(rate_frames(tracks))
    pool = pool_of_frames(tracks, worth, np.zeros(0), 10)
    chosen = pool[choose_diverse(pose_features(tracks, pool), worth[pool], 10, np.random.default_rng(0))]
    assert {200, 400, 600, 800} <= set(chosen.tolist())
