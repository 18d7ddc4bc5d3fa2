import numpy as np
import pytest
from filterpy.common import Q_continuous_white_noise
from filterpy.kalman import KalmanFilter
from scipy.interpolate import make_smoothing_spline

from dlcpose.postprocessing.kalman import VELOCITY_VARIANCE, Motion, fit_motion, kalman_smooth
from dlcpose.postprocessing.time_axis import TimeAxis, find_runs
from tests.postprocessing.made_up_motion import even_axis, uneven_axis, walk


def by_filterpy(run: np.ndarray, seconds: np.ndarray, noise: np.ndarray, usual: float, density: float) -> np.ndarray:
    """One coordinate (R,) through filterpy's filter and smoother, one step after the other."""
    frame_seconds = np.median(np.diff(seconds)) if len(seconds) > 1 else 1.0
    kalman = KalmanFilter(dim_x=2, dim_z=1)
    kalman.x = np.array([[run[0]], [0.0]])
    kalman.P = np.diag([noise[0], VELOCITY_VARIANCE * usual / frame_seconds**2])
    kalman.H = np.array([[1.0, 0.0]])
    steps = np.diff(seconds, prepend=seconds[0])
    transitions = [np.array([[1.0, step], [0.0, 1.0]]) for step in steps]
    noises = [Q_continuous_white_noise(2, step, density) for step in steps]
    means, covariances = [kalman.x.copy()], [kalman.P.copy()]
    for point, variance, transition, process in zip(run[1:], noise[1:], transitions[1:], noises[1:], strict=True):
        kalman.predict(F=transition, Q=process)
        kalman.update(point, R=variance)
        means.append(kalman.x.copy())
        covariances.append(kalman.P.copy())
    # filterpy's smoother takes the transition into row t + 1 from place t + 1.
    smooth, *_ = kalman.rts_smoother(np.array(means), np.array(covariances), transitions, noises)
    return smooth[:, 0, 0]


@pytest.mark.parametrize("axis", [even_axis(120), uneven_axis(120)])
@pytest.mark.parametrize("with_spreads", [False, True])
def test_each_run_is_what_filterpy_makes_of_it(axis: TimeAxis, with_spreads: bool) -> None:
    points = walk(120, missing=0.04)
    spreads = np.random.default_rng(1).uniform(0.5, 4, points.shape[:3]) if with_spreads else None
    motion = Motion(np.linspace(0.5, 3, 6), np.logspace(2, 5, 6))
    smooth = kalman_smooth(points, axis, spreads=spreads, motion=motion).reshape(120, 6, 2)
    relative = np.ones((120, 6)) if spreads is None else (spreads / np.median(spreads)).reshape(120, 6) ** 2
    # The median frame time is of the whole axis; a run has its own: the prior of the velocity is too wide to matter.
    for column, values in enumerate(points.reshape(120, 6, 2).swapaxes(0, 1)):
        for rows in find_runs(~np.isnan(values[:, 0]), axis):
            noise = motion.noise[column] * relative[rows, column]
            for xy in range(2):
                expected = by_filterpy(
                    values[rows, xy], axis.seconds[rows], noise, motion.noise[column], motion.acceleration[column]
                )
                np.testing.assert_allclose(smooth[rows, column, xy], expected, atol=1e-3)


def test_without_gaps_it_is_the_cubic_smoothing_spline() -> None:
    points, axis = walk(60, animals=1, keypoints=1), uneven_axis(60)
    motion = Motion(np.array([2.0]), np.array([3000.0]))
    smooth = kalman_smooth(points, axis, motion=motion)[:, 0, 0]
    for place in range(2):
        spline = make_smoothing_spline(axis.seconds, points[:, 0, 0, place], lam=2.0 / 3000.0)
        np.testing.assert_allclose(smooth[:, place], spline(axis.seconds), atol=1e-3)


def test_the_motion_that_made_the_points_is_found() -> None:
    rng = np.random.default_rng(0)
    rows, frame_seconds, noise, density = 3000, 0.04, 4.0, 5000.0
    process = np.linalg.cholesky(Q_continuous_white_noise(2, frame_seconds, density))
    state, places = np.zeros((2, 4)), []
    for _ in range(rows):
        state = np.array([[1, frame_seconds], [0, 1]]) @ state + process @ rng.normal(size=(2, 4))
        places.append(state[0])
    true = np.array(places).reshape(rows, 2, 1, 2)
    points = true + rng.normal(0, noise**0.5, true.shape)
    found = fit_motion(points, even_axis(rows))
    np.testing.assert_allclose(found.noise, noise, rtol=0.1)
    assert density / 3 < found.acceleration[0] < 3 * density
    smooth = kalman_smooth(points, even_axis(rows))
    assert ((smooth - true) ** 2).mean() < 0.5 * ((points - true) ** 2).mean()


def test_points_at_rest_and_points_on_a_line_stay_where_they_are() -> None:
    line = np.arange(50.0)[:, None, None, None] * np.array([2.0, -1.0]) + 30
    np.testing.assert_allclose(kalman_smooth(line, even_axis(50)), line, atol=1e-3)
    np.testing.assert_allclose(kalman_smooth(line * 0 + 7, even_axis(50)), 7, atol=1e-3)


def test_uncertain_points_pull_less() -> None:
    points = np.full((41, 1, 1, 2), 50.0) + np.random.default_rng(0).normal(0, 0.3, (41, 1, 1, 2))
    points[20] += 10
    spreads = np.full((41, 1, 1), 0.3)
    spreads[20] = 30.0
    known = np.abs(kalman_smooth(points, even_axis(41), spreads=spreads)[20] - 50).max()
    assert known < 0.5 * np.abs(kalman_smooth(points, even_axis(41))[20] - 50).max()
