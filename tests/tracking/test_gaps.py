"""Short tracklets fill the gaps of tracks, where they lie on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.track import track
from dlcpose.tracking.tracklets import tracklets_of_columns
from tests.tracking.noisy_poses import poses_in_columns, straight

TRUTH = straight([(50, 100), (50, 300)], [(3, 0), (3, 0)], 100)
SEEN = {0: [*range(40), *range(51, 100)], 1: list(range(100))}  # frames in which each animal is found for long


def poses(short: dict[int, list[int]], aside: float = 0.0) -> PoseTracks:
    """The animals where they are SEEN, and in some more frames each, moved aside there by so many px."""
    columns = np.full((100, 2), -1)
    for animal in (0, 1):
        columns[[*SEEN[animal], *short.get(animal, [])], animal] = animal
    points = TRUTH.keypoints_in_image.copy()
    for animal, frames in short.items():
        points[frames, animal, :, 1] += aside
    return poses_in_columns(TRUTH._replace(keypoints_in_image=points), columns)


@settings(deadline=None, max_examples=20)
@given(begin=st.integers(43, 46), length=st.integers(1, 4))
def test_a_short_tracklet_in_the_gap_of_a_track_belongs_to_it(begin: int, length: int) -> None:
    """Found for fewer frames than a tracklet needs to be joined to others."""
    frames = list(range(begin, begin + length))
    tracks = track(poses({0: frames}), TrackingSettings(animals=2)).tracks
    for animal in (0, 1):
        column = int(
            np.nanargmin(np.abs(tracks.keypoints_in_image[0, :, 0, 1] - TRUTH.keypoints_in_image[0, animal, 0, 1]))
        )
        there = sorted([*SEEN[animal], *(frames if animal == 0 else [])])
        assert np.flatnonzero(tracks.is_present[:, column]).tolist() == there
        np.testing.assert_allclose(tracks.keypoints_in_image[there, column], TRUTH.keypoints_in_image[there, animal])


def test_what_does_not_lie_on_the_way_of_a_track_is_left_out() -> None:
    result = track(poses({0: [44, 45, 46]}, aside=90.0), TrackingSettings(animals=2))
    assert result.left_out == 3
    assert not result.tracks.is_present[44:47].all(axis=1).any()


@pytest.mark.parametrize("seed", range(4))
def test_tracklets_in_any_order_are_joined_forward_in_time(seed: int) -> None:
    """Animals that lie over each other, in columns that mean nothing: numpy warns, and fails, where time runs backward."""
    rng = np.random.default_rng(seed)
    truth = straight([(100, 100)] * 90, [tuple(each) for each in rng.uniform(-1, 1, (90, 2))], 120)
    lengths = rng.integers(5, 16, 90)
    begins = rng.integers(0, 120 - lengths)
    rows = np.arange(120)[:, None]
    columns = np.where((rows >= begins) & (rows < begins + lengths), np.arange(90), -1)
    result = track(poses_in_columns(truth, columns), TrackingSettings(animals=3), link=tracklets_of_columns)
    assert (result.columns >= 0).sum(axis=1).max() <= 3
    kept = result.columns[result.columns >= 0]
    assert len(kept) + result.left_out == (columns >= 0).sum()
