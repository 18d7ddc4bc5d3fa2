from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import signal

from dlcpose.postprocessing.filters import cut_by_confidence, interpolate_gaps, median_filter, savgol_filter
from dlcpose.postprocessing.kalman import kalman_smooth
from dlcpose.postprocessing.time_axis import TimeAxis, find_runs
from tests.postprocessing.made_up_motion import even_axis, uneven_axis, walk

OVER_RUNS: list[Callable[[np.ndarray, TimeAxis], np.ndarray]] = [
    lambda points, axis: median_filter(points, axis, window=5),
    lambda points, axis: savgol_filter(points, axis, window=5, order=2),
    lambda points, axis: kalman_smooth(points, axis),
]


def test_the_cut_removes_what_is_below_and_nothing_else() -> None:
    points, scores = walk(30), np.random.default_rng(0).random((30, 2, 3))
    cut, cut_scores = cut_by_confidence(points, scores, 0.6)
    kept = scores >= 0.6
    np.testing.assert_array_equal(cut[kept], points[kept])
    assert np.isnan(cut[~kept]).all()
    np.testing.assert_array_equal(cut_scores, np.where(kept, scores, 0))


@pytest.mark.parametrize("axis", [even_axis(400), uneven_axis(400)])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_gaps_up_to_the_limit_are_filled_as_pandas_does_and_longer_ones_not_at_all(axis: TimeAxis, limit: int) -> None:
    points = walk(400, missing=0.6)
    filled = interpolate_gaps(points, axis, max_frames=limit).reshape(400, -1)
    for column, values in enumerate(points.reshape(400, -1).T):
        series = pd.Series(values, index=axis.seconds)
        expected = series.interpolate("index", limit_area="inside").to_numpy(copy=True)
        gaps = series.isna().groupby(series.notna().cumsum().to_numpy()).transform("sum").to_numpy()
        expected[np.isnan(values) & (gaps > limit)] = np.nan
        np.testing.assert_allclose(filled[:, column], expected, atol=1e-9)
    np.testing.assert_array_equal(filled[~np.isnan(points.reshape(400, -1))], points[~np.isnan(points)])


def test_a_gap_is_measured_in_frames_of_the_video() -> None:
    points = walk(9)
    points[4] = np.nan
    axis = even_axis(9, step=5)  # the gap is from frame 15 to 25: nine frames
    assert np.isnan(interpolate_gaps(points, axis, max_frames=8)[4]).all()
    np.testing.assert_allclose(interpolate_gaps(points, axis, max_frames=9)[4], (points[3] + points[5]) / 2)


@pytest.mark.parametrize("window", [3, 7, 601, 10**30 + 1])
def test_the_median_is_that_of_pandas_within_each_run(window: int) -> None:
    points, axis = walk(300, missing=0.1), even_axis(300)
    filtered = median_filter(points, axis, window=window).reshape(300, -1, 2)
    for column, values in enumerate(points.reshape(300, -1, 2).swapaxes(0, 1)):
        for rows in find_runs(~np.isnan(values[:, 0]), axis):
            within = min(window, 2 * len(values) + 1)  # pandas takes no larger numbers than C does
            expected = pd.DataFrame(values[rows]).rolling(within, center=True, min_periods=1).median()
            np.testing.assert_allclose(filtered[rows, column], expected)


@pytest.mark.parametrize(("window", "order"), [(5, 2), (7, 3), (9, 0)])
def test_savitzky_golay_is_scipys_within_each_run_and_leaves_short_ones(window: int, order: int) -> None:
    points, axis = walk(300, missing=0.1), even_axis(300)
    filtered = savgol_filter(points, axis, window=window, order=order).reshape(300, -1, 2)
    seen = set()
    for column, values in enumerate(points.reshape(300, -1, 2).swapaxes(0, 1)):
        for rows in find_runs(~np.isnan(values[:, 0]), axis):
            run = values[rows]
            seen.add(len(run) < window)
            expected = run if len(run) < window else signal.savgol_filter(run, window, order, axis=0)
            np.testing.assert_allclose(filtered[rows, column], expected)
    assert seen == {True, False}


def test_at_a_varying_rate_each_point_lies_on_numpys_polynomial_of_the_times_around_it() -> None:
    points, axis = walk(40, animals=1, keypoints=1), uneven_axis(40)
    filtered = savgol_filter(points, axis, window=7, order=3)[:, 0, 0]
    for row in range(40):
        first = min(max(row - 3, 0), 33)
        around = slice(first, first + 7)
        for xy in range(2):
            polynomial = np.polynomial.Polynomial.fit(axis.seconds[around], points[around, 0, 0, xy], 3)
            assert filtered[row, xy] == pytest.approx(polynomial(axis.seconds[row]), abs=1e-6)


def test_at_an_even_rate_polynomials_of_time_are_scipys_filter() -> None:
    points, even = walk(60), even_axis(60)
    by_time = savgol_filter(points, TimeAxis(even.frames, even.seconds, 1, False), window=9, order=3)
    np.testing.assert_allclose(by_time, savgol_filter(points, even, window=9, order=3), atol=1e-8)


@pytest.mark.parametrize("run_filter", OVER_RUNS)
def test_what_is_missing_stays_missing_and_nothing_is_carried_across_a_gap(
    run_filter: Callable[[np.ndarray, TimeAxis], np.ndarray],
) -> None:
    points, axis = walk(120), even_axis(120)
    points[50:53] = np.nan
    whole = run_filter(points, axis)
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(points))
    moved = points.copy()
    moved[53:] += 500  # what comes after the gap; a place shared by all points changes no estimate of their noise
    np.testing.assert_allclose(run_filter(moved, axis)[:50], whole[:50], atol=1e-6)
    np.testing.assert_allclose(run_filter(moved, axis)[53:], whole[53:] + 500, atol=1e-6)


@pytest.mark.parametrize("run_filter", OVER_RUNS)
def test_points_are_left_as_they_were_given_and_precision_stays(
    run_filter: Callable[[np.ndarray, TimeAxis], np.ndarray],
) -> None:
    points = walk(40, missing=0.1).astype(np.float32)
    before = points.copy()
    assert run_filter(points, even_axis(40)).dtype == np.float32
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("run_filter", OVER_RUNS)
@pytest.mark.parametrize("points", [np.zeros((0, 2, 3, 2)), np.full((5, 2, 3, 2), np.nan), np.zeros((6, 0, 3, 2))])
def test_nothing_in_gives_nothing_out(
    run_filter: Callable[[np.ndarray, TimeAxis], np.ndarray], points: np.ndarray
) -> None:
    np.testing.assert_array_equal(run_filter(points, even_axis(len(points))), points)


@pytest.mark.parametrize("run_filter", OVER_RUNS)
def test_animals_that_change_columns_only_change_columns(
    run_filter: Callable[[np.ndarray, TimeAxis], np.ndarray],
) -> None:
    points, axis = walk(80, missing=0.05), even_axis(80)
    np.testing.assert_allclose(run_filter(points[:, ::-1], axis), run_filter(points, axis)[:, ::-1], atol=1e-9)
