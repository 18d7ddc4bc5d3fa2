from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from dlcpose.postprocessing.filter_tracks import Filters, filter_tracks
from dlcpose.postprocessing.filters import cut_by_confidence, interpolate_gaps, median_filter, savgol_filter
from dlcpose.postprocessing.time_axis import time_axis
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.pose_tracks import PoseTracks
from tests.structures.made_up_tracks import made_up_tracks


def same(first: PoseTracks, second: PoseTracks) -> bool:
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(PoseTracks)]
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a == b for a, b in pairs
    )


def test_the_order_is_that_of_the_filters_whatever_the_order_of_the_settings() -> None:
    tracks = made_up_tracks(frames=60)
    axis = time_axis(tracks)
    points, scores = cut_by_confidence(tracks.keypoints_in_image, tracks.keypoint_scores, 0.4)
    points = interpolate_gaps(points, axis, max_frames=4)
    points = savgol_filter(median_filter(points, axis, window=3), axis, window=5, order=2)
    filtered = filter_tracks(tracks, Filters(savgol=(5, 2), median=3, interpolate=4, cutoff=0.4))
    np.testing.assert_allclose(filtered.keypoints_in_image, points, atol=1e-4)
    np.testing.assert_array_equal(filtered.keypoint_scores, scores)


def test_the_poses_given_stay_as_they_are_and_the_rest_of_the_table_goes_along() -> None:
    tracks = made_up_tracks(frames=60, unique=("door",))
    before = made_up_tracks(frames=60, unique=("door",))
    filtered = filter_tracks(tracks, Filters(cutoff=0.6, interpolate=3, median=3, savgol=(5, 2), kalman=True))
    assert same(tracks, before)
    assert not same(tracks, filtered)
    for name in ("skeleton", "video", "individuals", "is_tracked"):
        assert getattr(filtered, name) == getattr(tracks, name)
    np.testing.assert_array_equal(filtered.times, tracks.times)


def test_filling_changes_no_point_that_was_there_and_scores_what_it_fills_with_zero() -> None:
    tracks = made_up_tracks(frames=80, missing=0.3)
    filled = filter_tracks(tracks, Filters(interpolate=5))
    known = ~np.isnan(tracks.keypoints_in_image)
    np.testing.assert_array_equal(filled.keypoints_in_image[known], tracks.keypoints_in_image[known])
    new = ~np.isnan(filled.keypoints_in_image[..., 0]) & ~known[..., 0]
    assert new.any()
    assert (filled.keypoint_scores[new] == 0).all()
    np.testing.assert_array_equal(filled.keypoint_scores[~new], tracks.keypoint_scores[~new])


def test_an_animal_that_loses_all_its_keypoints_is_absent() -> None:
    tracks = made_up_tracks(missing=0.0)
    scores = tracks.keypoint_scores.copy()
    scores[3, 1] = 0.1
    tracks = replace(
        tracks, keypoint_scores=scores, identities=tracks.identities + 1, keypoint_spreads=np.ones_like(scores)
    )
    cut = filter_tracks(tracks, Filters(cutoff=0.2))
    assert not cut.is_present[3, 1]
    assert cut.scores[3, 1] == 0
    assert cut.identities[3, 1] == -1
    assert np.isnan(cut.boxes_in_image[3, 1]).all()
    np.testing.assert_array_equal(np.isnan(cut.keypoint_spreads), np.isnan(cut.keypoints_in_image[..., 0]))
    assert cut.is_present.sum() == tracks.is_present.sum() - 1


def test_unique_keypoints_are_filtered_like_an_animals() -> None:
    tracks = made_up_tracks(frames=60, unique=("door", "water"))
    unique, scores = tracks.unique_in_image.copy(), tracks.unique_scores.copy()
    unique[10:12, 1], scores[20, 0] = np.nan, 0.1
    tracks = replace(tracks, unique_in_image=unique, unique_scores=scores)
    axis = time_axis(tracks)
    cut, _ = cut_by_confidence(unique, scores, 0.3)
    expected = median_filter(interpolate_gaps(cut, axis, max_frames=2), axis, window=3)
    filtered = filter_tracks(tracks, Filters(cutoff=0.3, interpolate=2, median=3))
    np.testing.assert_allclose(filtered.unique_in_image, expected)
    assert not np.isnan(filtered.unique_in_image).any()


@pytest.mark.parametrize("setting", [{"interpolate": 3}, {"median": 3}, {"savgol": (5, 2)}, {"kalman": True}])
def test_filters_over_time_need_tracked_poses(setting: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"cage\.mp4"):
        filter_tracks(made_up_tracks(is_tracked=False), Filters(**setting))


def test_the_cut_needs_no_tracks() -> None:
    cut = filter_tracks(made_up_tracks(is_tracked=False), Filters(cutoff=0.5))
    assert cut.keypoint_scores[cut.keypoint_scores > 0].min() >= 0.5


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({}, "cutoff"),
        ({"cutoff": 1.5}, "cutoff"),
        ({"interpolate": 0}, "interpolate"),
        ({"median": 4}, "median"),
        ({"median": 1}, "median"),
        ({"savgol": (6, 2)}, "savgol"),
        ({"savgol": (5, 5)}, "savgol"),
    ],
)
def test_settings_that_make_no_sense_are_named(setting: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Filters(**setting)


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_hardly_any_frame_is_no_trouble(frames: int) -> None:
    filters = Filters(cutoff=0.3, interpolate=5, median=5, savgol=(7, 3), kalman=True)
    assert len(filter_tracks(made_up_tracks(frames=frames, unique=("door",)), filters)) == frames
