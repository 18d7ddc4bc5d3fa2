from dataclasses import replace

import numpy as np
import pytest

from dlcpose.postprocessing.filters import savgol_filter
from dlcpose.postprocessing.time_axis import find_runs, time_axis
from tests.postprocessing.made_up_motion import even_axis
from tests.structures.made_up_tracks import made_up_tracks


def test_rounded_time_stamps_are_an_even_frame_rate() -> None:
    tracks = made_up_tracks(frames=200, fps=120)
    axis = time_axis(replace(tracks, times=np.round(tracks.times, 3)))
    assert axis.is_even
    np.testing.assert_allclose(np.diff(axis.seconds), 1 / 120, atol=1e-5)


def test_a_varying_frame_rate_keeps_its_times_and_rows_without_one_get_theirs() -> None:
    tracks = made_up_tracks(frames=40)
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 40))
    axis = time_axis(replace(tracks, times=np.where(np.arange(40) == 7, np.nan, times)))
    assert not axis.is_even
    np.testing.assert_array_equal(np.delete(axis.seconds, 7), np.delete(times, 7))
    assert axis.seconds[7] == pytest.approx((times[6] + times[8]) / 2)
    times[[0, 39]] = np.nan
    assert np.all(np.diff(time_axis(replace(tracks, times=times)).seconds) > 0)


def test_non_increasing_times_fall_back_to_frame_numbers_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    tracks = made_up_tracks(frames=10, fps=20)
    axis = time_axis(replace(tracks, times=np.zeros(10)))
    assert "cage.mp4" in caplog.text
    np.testing.assert_allclose(axis.seconds, np.arange(10) / 20)
    caplog.clear()
    assert time_axis(replace(tracks, times=np.full(10, np.nan))).is_even
    assert not caplog.text


def test_runs_are_all_rows_that_are_present_and_end_at_gaps_and_jumps() -> None:
    present = np.array([True, True, False, True, True, True, False, False, True])
    axis = even_axis(9)
    assert find_runs(present, axis) == [slice(0, 2), slice(3, 6), slice(8, 9)]
    jumped = replace(axis, frames=np.array([0, 1, 2, 3, 4, 9, 10, 11, 12]))
    assert find_runs(present, jumped) == [slice(0, 2), slice(3, 5), slice(5, 6), slice(8, 9)]
    assert find_runs(np.zeros(9, bool), axis) == []


def test_every_nth_frame_is_a_table_without_jumps() -> None:
    assert not time_axis(made_up_tracks(frame_indices=range(0, 60, 5), frames=60)).jumps.any()


def test_rows_of_a_camera_are_uneven_and_only_long_gaps_are_jumps() -> None:
    """A camera's newest frame is predicted each time: now every second one, now every third."""
    frames = np.cumsum([0, 3, 2, 3, 4, 3, 2, 3, 9, 3, 4, 3])
    tracks = made_up_tracks(frame_indices=frames, missing=0)
    axis = time_axis(tracks)
    assert not axis.is_even
    assert np.flatnonzero(axis.jumps).tolist() == [8]
    assert time_axis(made_up_tracks(frame_indices=[0, 5, 10, 30, 35, 40])).is_even
    points = np.broadcast_to(axis.seconds[:, None, None, None], (12, 1, 1, 2)) * (100, -40)  # at a constant speed
    np.testing.assert_allclose(savgol_filter(points, axis, window=3, order=1), points, atol=1e-9)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_table_of_hardly_any_row_has_an_axis(rows: int) -> None:
    axis = time_axis(made_up_tracks(frames=rows))
    assert len(axis.seconds) == len(axis.jumps) == rows
