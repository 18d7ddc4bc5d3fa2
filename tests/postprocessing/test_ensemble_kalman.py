"""The ensemble Kalman smoother against filterpy, and what it must do whatever the numbers."""

from dataclasses import replace

import numpy as np
import pytest
from filterpy.common import Q_continuous_white_noise
from filterpy.kalman import KalmanFilter

from dlcpose.postprocessing.ensemble import combine_members
from dlcpose.postprocessing.ensemble_kalman import fit_smoothness, observation_variances, smooth_ensemble
from dlcpose.postprocessing.kalman import VELOCITY_VARIANCE, Motion, kalman_smooth, smooth_columns
from dlcpose.postprocessing.time_axis import time_axis
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from tests.postprocessing.made_up_motion import even_axis, walk
from tests.structures.made_up_tracks import made_up_tracks


def moving(rows: int = 80, animals: int = 1) -> PoseTracks:
    """Animals that move smoothly, far from each other."""
    tracks = made_up_tracks(frames=rows, animals=animals, missing=0.0)
    phases = np.random.default_rng(3).uniform(0, 6, (1, animals, 4, 2))
    points = 20 * np.sin(np.arange(rows)[:, None, None, None] / 12 + phases)
    points += np.arange(animals)[:, None, None] * 300 + np.arange(4)[:, None] * 15
    return replace(
        tracks,
        keypoints_in_image=points.astype(np.float32),
        keypoint_scores=np.full(points.shape[:3], 0.9, np.float32),
    )


def noisy(tracks: PoseTracks, sigma: float, seed: int) -> PoseTracks:
    noise = np.random.default_rng(seed).normal(0, sigma, tracks.keypoints_in_image.shape)
    return replace(tracks, keypoints_in_image=(tracks.keypoints_in_image + noise).astype(np.float32))


def test_positions_and_posterior_variances_are_filterpys() -> None:
    rows, axis = 40, even_axis(40)
    points = walk(rows, animals=1, keypoints=1).reshape(rows, 1, 2)
    noise = np.random.default_rng(0).uniform(0.3, 8, (rows, 1))
    motion = Motion(np.array([2.0]), np.array([4000.0]))
    smooth, variances = smooth_columns(points, axis, noise, motion)
    kalman = KalmanFilter(dim_x=2, dim_z=1)
    kalman.x = np.array([[points[0, 0, 0]], [0.0]])
    kalman.P = np.diag([noise[0, 0], VELOCITY_VARIANCE * 2.0 * 25**2])
    kalman.F, kalman.H = np.array([[1.0, 0.04], [0.0, 1.0]]), np.array([[1.0, 0.0]])
    kalman.Q = Q_continuous_white_noise(2, 0.04, 4000.0)
    means, covariances = [kalman.x.copy()], [kalman.P.copy()]
    for row in range(1, rows):
        kalman.predict()
        kalman.update(points[row, 0, 0], R=noise[row, 0])
        means.append(kalman.x.copy())
        covariances.append(kalman.P.copy())
    theirs, their_covariances, *_ = kalman.rts_smoother(np.array(means), np.array(covariances))
    np.testing.assert_allclose(smooth[:, 0, 0], theirs[:, 0, 0], atol=1e-4)
    np.testing.assert_allclose(variances[:, 0], their_covariances[:, 0, 0], rtol=1e-4)


def test_with_constant_noise_it_is_the_plain_smoother() -> None:
    points, axis = walk(60, animals=1, keypoints=2), even_axis(60)
    motion = Motion(np.array([1.5, 1.5]), np.array([900.0, 5000.0]))
    plain = kalman_smooth(points, axis, motion=motion)
    smooth, _ = smooth_columns(points.reshape(60, 2, 2), axis, np.full((60, 2), 1.5), motion)
    np.testing.assert_allclose(smooth.reshape(points.shape), plain)


def test_members_that_agree_are_returned() -> None:
    tracks = moving()
    smooth = smooth_ensemble(combine_members([tracks] * 3))
    np.testing.assert_allclose(smooth.keypoints_in_image, tracks.keypoints_in_image, atol=0.01)
    assert smooth.keypoint_spreads is not None
    assert smooth.keypoint_spreads.max() <= 0.011


def test_where_members_disagree_the_frames_around_count_and_the_posterior_says_so() -> None:
    true = moving(animals=2)
    members = [noisy(true, 0.5, seed) for seed in range(3)]
    for number, member in enumerate(members):  # in five frames each sees something else
        member.keypoints_in_image[30:35, 0, 1] += np.array([[20.0, -30.0], [-40.0, 5.0], [15.0, 25.0]])[number]
    combined = combine_members(members)
    smooth = smooth_ensemble(combined)
    assert smooth.keypoint_spreads is not None

    def error(tracks: PoseTracks) -> np.ndarray:
        return np.linalg.norm(tracks.keypoints_in_image - true.keypoints_in_image, axis=-1)

    assert error(smooth)[30:35, 0, 1].mean() < 0.5 * error(combined)[30:35, 0, 1].mean()
    assert error(smooth).mean() <= error(combined).mean()
    usual = np.median(smooth.keypoint_spreads[:, 0, 1])
    assert smooth.keypoint_spreads[30:35, 0, 1].min() > 1.5 * usual


def test_a_low_score_makes_a_keypoint_noisier_and_nothing_is_known_exactly() -> None:
    spreads = np.array([[[1.0, 0.0]], [[1.0, 2.0]], [[np.nan, 2.0]]])
    scores = np.array([[[1.0, 1.0]], [[0.5, 1.0]], [[0.0, 1.0]]])
    variances = observation_variances(spreads, scores)
    np.testing.assert_allclose(variances[:, 0, 0], [1, 2, 100])
    np.testing.assert_allclose(variances[:, 0, 1], [0.04, 4, 4])  # not below a tenth of the usual deviation


def test_what_is_missing_stays_missing_and_one_that_is_not_tracked_is_refused() -> None:
    tracks = moving()
    tracks.keypoints_in_image[20:23, 0, 1] = np.nan
    combined = combine_members([noisy(tracks, 0.1, 0), noisy(tracks, 0.1, 1)])
    smooth = smooth_ensemble(combined)
    np.testing.assert_array_equal(np.isnan(smooth.keypoints_in_image), np.isnan(tracks.keypoints_in_image))
    assert smooth.keypoint_spreads is not None
    np.testing.assert_array_equal(np.isnan(smooth.keypoint_spreads), np.isnan(tracks.keypoints_in_image[..., 0]))
    with pytest.raises(DataError, match="expected tracks"):
        smooth_ensemble(replace(combined, is_tracked=False))
    with pytest.raises(DataError, match="spread"):
        smooth_ensemble(tracks)


def test_a_keypoint_that_keeps_its_velocity_is_smoothed_most() -> None:
    tracks = moving(120)
    line = np.arange(120.0)[:, None] * np.array([1.0, -0.5])
    rng = np.random.default_rng(0)
    columns = np.stack([line, line + 8 * np.sin(np.arange(120) / 2)[:, None]], axis=1) + rng.normal(0, 1, (120, 2, 2))
    motion = fit_smoothness(columns, time_axis(tracks), np.ones((120, 2)))
    assert motion.acceleration[0] < 0.1 * motion.acceleration[1]
