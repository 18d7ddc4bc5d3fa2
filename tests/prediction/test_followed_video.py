"""Tracks that share columns keep apart in time."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.prediction.followed_video import column_for_each_track, shared_columns
from dlcpose.prediction.pose_rows import PoseRows, tracks_of
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo, column_names
from dlcpose.structures.skeleton import Skeleton

TRACKS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=12)  # first row and length


@given(tracks=TRACKS, pause=st.integers(0, 5))
def test_tracks_share_columns_with_a_pause_between_them(tracks: list[tuple[int, int]], pause: int) -> None:
    animals = sorted(
        (row, track) for track, (first, length) in enumerate(tracks) for row in range(first, first + length)
    )
    rows, track_ids = np.array(animals).T
    columns = shared_columns(track_ids, rows, pause)
    busy: dict[int, list[tuple[int, int]]] = {}
    for track, (first, length) in enumerate(tracks):
        (column,) = set(columns[track_ids == track].tolist())
        busy.setdefault(column, []).append((first, first + length))
    for spans in busy.values():
        spans.sort()
        assert all(after[0] - before[1] >= pause for before, after in pairwise(spans))
    # No more columns than tracks that need one at the same time.
    needed = max(sum(first <= row < first + length + pause for first, length in tracks) for row in range(60))
    assert len(busy) == needed
    assert columns.max() == needed - 1


def test_no_tracks_have_no_columns() -> None:
    assert shared_columns(np.zeros(0, np.int64), np.zeros(0, np.int64), 3).shape == (0,)


def in_shared_columns(tracks: list[tuple[int, int]], pause: int) -> PoseTracks:
    """Animals whose only keypoint is at (number of their track, row)."""
    animals = sorted(
        (row, track) for track, (first, length) in enumerate(tracks) for row in range(first, first + length)
    )
    rows, track_ids = np.array(animals).T
    columns, count = shared_columns(track_ids, rows, pause), len(animals)
    of_animals = {
        "keypoints_in_image": np.stack([track_ids, rows], axis=-1)[:, None].astype(np.float32),
        "keypoint_scores": np.ones((count, 1), np.float32),
        "scores": np.ones(count, np.float32),
        "boxes_in_image": np.full((count, 4), np.nan, np.float32),
        "identities": np.full(count, -1),
    }
    of_frames = {"unique_in_image": np.zeros((60, 0, 2), np.float32), "unique_scores": np.zeros((60, 0), np.float32)}
    counts = np.bincount(rows, minlength=60)
    made = PoseRows(np.arange(60), np.arange(60) / 25, counts, of_animals, of_frames, track_ids)
    video, names = VideoInfo("made up", "", 64, 64, 60, 25.0), column_names(1 + int(columns.max()), ())
    return tracks_of(made, Skeleton(("nose",)), video, names, is_tracked=False, columns=columns)


@given(tracks=TRACKS, pause=st.integers(1, 5))
def test_tracks_that_shared_columns_get_a_column_each(tracks: list[tuple[int, int]], pause: int) -> None:
    apart = column_for_each_track(in_shared_columns(tracks, pause), pause)
    assert apart.is_tracked
    found = []
    for column in range(len(apart.individuals)):
        (rows,) = np.nonzero(apart.is_present[:, column])
        numbers, places = apart.keypoints_in_image[rows, column, 0].T
        np.testing.assert_array_equal(places, rows)
        (track,) = set(numbers.astype(int).tolist())
        found.append((track, int(rows[0]), len(rows)))
    assert sorted(found) == [(track, first, length) for track, (first, length) in enumerate(tracks)]
    assert [first for _, first, _ in found] == sorted(first for first, _ in tracks)


def test_too_many_tracks_for_a_column_each_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcpose.prediction.followed_video.MAX_BYTES", 60 * 3 * 8)
    with pytest.raises(DataError, match="--animals"):
        column_for_each_track(in_shared_columns([(0, 5), (20, 5)], 2), 2)
