"""Tracks that share columns keep apart in time."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.prediction.followed_video import shared_columns


@given(
    tracks=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=12),
    pause=st.integers(0, 5),
)
def test_tracks_share_columns_with_a_pause_between_them(tracks: list[tuple[int, int]], pause: int) -> None:
    """tracks: first row and length of each, which is there in every row."""
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
