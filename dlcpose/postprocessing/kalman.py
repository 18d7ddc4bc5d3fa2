"""Kalman smoothing of keypoints that move at a nearly constant velocity (Rauch, Tung and Striebel 1965).

filterpy's KalmanFilter takes one series at a time, at some 0.1 ms a step; here all keypoints of all animals go through a
step together. The tests compare each with filterpy's `rts_smoother`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.postprocessing.time_axis import TimeAxis, find_runs

Array = npt.NDArray[Any]
VELOCITY_VARIANCE = 1e7  # of a run's first row, in noise variances per squared frame time: nothing is known of it
# Candidates for the acceleration's density over the noise's variance, times the cubed frame time: from a keypoint that keeps
# its velocity for a hundred frames to one that moves so freely that nothing is smoothed.
RATIOS = np.logspace(-7, 2, 28)


@dataclass(frozen=True)
class Motion:
    """How C keypoints move and how noisy they are.

    noise: (C,) px², variance of a coordinate around the true one. acceleration: (C,) px²/s³, spectral density of the white
    noise that changes the velocity.
    """

    noise: Array
    acceleration: Array


def kalman_smooth(
    points: Array, axis: TimeAxis, *, spreads: Array | None = None, motion: Motion | None = None
) -> Array:
    """Points smoothed over all rows of their run: (T, N, K, 2) -> the same shape and gaps.

    spreads: (T, N, K) px, how uncertain each point is relative to the others, such as the spread of an ensemble; NaN counts
    as the median. motion: of the N·K keypoints, in that order; by default the likeliest for each of the K keypoints, over
    all animals and both coordinates (`fit_motion`).
    Source: filterpy.kalman.rts_smoother with Q_continuous_white_noise; observation noise from an ensemble is that of the
    ensemble Kalman smoother (Biderman et al. 2024).
    """
    if np.isnan(points).all():  # so it is without any point
        return points
    columns = points.reshape(len(points), -1, 2).astype(np.float64)  # (T, C, 2)
    weights = _relative_variances(points.shape[:-1], spreads)  # (T, C)
    motion = motion or fit_motion(points, axis, spreads=spreads)
    smooth, _ = smooth_columns(columns, axis, weights * motion.noise, motion)
    return np.asarray(smooth.reshape(points.shape), points.dtype)


def smooth_columns(columns: Array, axis: TimeAxis, noise: Array, motion: Motion) -> tuple[Array, Array]:
    """Points and the posterior variance of each coordinate: (T, C, 2), noise variances (T, C) -> (T, C, 2), (T, C) px².

    motion.noise: the usual noise of a column, from which the first row of a run takes how little is known of the velocity.
    What is NaN stays NaN, in both.
    """
    first = _first_rows(columns, axis)  # (T, C)
    means, covariances = _filter(columns, axis, first, noise, motion.acceleration, motion.noise)
    smooth, variances = _smooth_backwards(means, covariances, axis, first, motion.acceleration)
    missing = np.isnan(columns[..., 0])
    smooth[missing], variances[missing] = np.nan, np.nan
    return smooth, variances


def likelihood_of_accelerations(columns: Array, axis: TimeAxis, noise: Array, accelerations: Array) -> Array:
    """Log likelihood, but for a constant, of points (T, C, 2) with noise (T, C) px² for each density (G, C): (G, C)."""
    first = _first_rows(columns, axis)
    counts = ~np.isnan(columns[..., 0]) & ~first & ~np.roll(first, 1, axis=0)
    squares, logs = _innovations(columns, axis, first, counts, noise, accelerations)
    return np.asarray(-0.5 * squares - logs)


def fit_motion(points: Array, axis: TimeAxis, *, spreads: Array | None = None) -> Motion:
    """The motion of each keypoint under which its points are likeliest, the same for all animals: (T, N, K, 2) -> N·K.

    The noise that fits best is known for each ratio of the two, so only the ratio is searched, among RATIOS.
    """
    animals, keypoints = points.shape[1:3]
    columns = points.reshape(len(points), -1, 2).astype(np.float64)  # (T, C, 2)
    frame_seconds = _frame_seconds(axis)
    ratios = np.broadcast_to(RATIOS[:, None] / frame_seconds**3, (len(RATIOS), columns.shape[1]))  # (G, C)
    weights = _relative_variances(points.shape[:-1], spreads)
    first = _first_rows(columns, axis)
    # Nothing is known of the velocity in the first row of a run: its second says nothing of the noise.
    counts = ~np.isnan(columns[..., 0]) & ~first & ~np.roll(first, 1, axis=0)  # (T, C)
    squares, logs = _innovations(columns, axis, first, counts, weights, ratios)  # (G, C)

    def over_animals(values: Array) -> Array:
        return np.asarray(values.reshape(*values.shape[:-1], animals, keypoints).sum(axis=-2))

    number = 2 * over_animals(counts.sum(axis=0))  # (K,) coordinates
    noise = np.maximum(over_animals(squares) / np.maximum(number, 1), 1e-6)  # (G, K) px²
    likelihoods = -0.5 * (number * np.log(noise) + 2 * over_animals(logs))  # (G, K), but for a constant
    best = likelihoods.argmax(axis=0)  # (K,)
    chosen = noise[best, np.arange(keypoints)]  # (K,)
    return Motion(np.tile(chosen, animals), np.tile(chosen * RATIOS[best] / frame_seconds**3, animals))


def _relative_variances(shape: tuple[int, ...], spreads: Array | None) -> Array:
    """Variances of the points relative to the usual one: (T, N, K) -> (T, C), 1 without spreads."""
    if spreads is None or not np.isfinite(spreads).any():
        return np.ones((shape[0], int(np.prod(shape[1:]))))
    usual = float(np.nanmedian(spreads)) or 1.0
    # Not below a tenth of the usual spread: where members agree by coincidence, the curve would have to go through the point.
    relative = np.maximum(np.where(np.isfinite(spreads), spreads / usual, 1.0), 0.1)
    return np.asarray(relative**2, np.float64).reshape(shape[0], -1)


def _frame_seconds(axis: TimeAxis) -> float:
    return float(np.median(np.diff(axis.seconds))) if len(axis) > 1 else 1.0


def _first_rows(columns: Array, axis: TimeAxis) -> Array:
    """Where a run begins: (T, C)."""
    first = np.zeros(columns.shape[:2], bool)
    for column in range(columns.shape[1]):
        for rows in find_runs(~np.isnan(columns[:, column, 0]), axis):
            first[rows.start, column] = True
    return first


def _predict(mean: Array, covariance: Array, seconds: float, acceleration: Array) -> tuple[Array, Array]:
    """State and covariance after some time: (..., 2 of position and velocity, 2), (..., 3 of PP, PV, VV)."""
    pp, pv, vv = np.moveaxis(covariance, -1, 0)
    ahead = mean.copy()
    ahead[..., 0, :] += seconds * mean[..., 1, :]
    return ahead, np.stack(
        [
            pp + 2 * seconds * pv + seconds**2 * vv + acceleration * seconds**3 / 3,
            pv + seconds * vv + acceleration * seconds**2 / 2,
            vv + acceleration * seconds,
        ],
        axis=-1,
    )


def _update(mean: Array, covariance: Array, point: Array, noise: Array) -> tuple[Array, Array]:
    """State and covariance once a point (..., 2) with a variance is known; what is NaN changes nothing."""
    pp, pv, vv = np.moveaxis(covariance, -1, 0)
    gain = np.stack([pp, pv], axis=-1) / (pp + noise)[..., None]  # (..., 2)
    seen: Array = ~np.isnan(point[..., 0])
    gain = np.where(seen[..., None], gain, 0.0)
    surprise = np.where(seen[..., None], point - mean[..., 0, :], 0.0)
    after = np.stack([(1 - gain[..., 0]) * pp, (1 - gain[..., 0]) * pv, vv - gain[..., 1] * pv], axis=-1)
    return mean + gain[..., None] * surprise[..., None, :], after


def _begin(point: Array, noise: Array, usual_noise: Array, frame_seconds: float) -> tuple[Array, Array]:
    """State and covariance of a run's first row: at its point, with any velocity."""
    mean = np.stack([point, np.zeros_like(point)], axis=-2)
    velocity = np.broadcast_to(VELOCITY_VARIANCE * usual_noise / frame_seconds**2, noise.shape)
    return mean, np.stack([noise, np.zeros_like(noise), velocity], axis=-1)


def _filter(
    columns: Array, axis: TimeAxis, first: Array, noise: Array, acceleration: Array, usual_noise: Array
) -> tuple[Array, Array]:
    """Filtered states (T, C, 2, 2) and covariances (T, C, 3) of points (T, C, 2) with variances (T, C)."""
    frame_seconds = _frame_seconds(axis)
    means = np.empty((*columns.shape[:2], 2, 2))
    covariances = np.empty((*columns.shape[:2], 3))
    mean, covariance = np.zeros(means.shape[1:]), np.zeros(covariances.shape[1:])
    for row in range(len(columns)):
        point: Array = columns[row]
        if row:
            seconds = axis.seconds[row] - axis.seconds[row - 1]
            mean, covariance = _predict(mean, covariance, seconds, acceleration)
        mean, covariance = _update(mean, covariance, point, noise[row])
        if (begins := first[row]).any():
            mean[begins], covariance[begins] = _begin(
                point[begins], noise[row][begins], usual_noise[begins], frame_seconds
            )
        means[row], covariances[row] = mean, covariance
    return means, covariances


def _innovations(
    columns: Array, axis: TimeAxis, first: Array, counts: Array, noise: Array, acceleration: Array
) -> tuple[Array, Array]:
    """Sums over rows that count of v²/S and of log S, v the innovations with variance S, for each ratio: (G, C) each."""
    frame_seconds = _frame_seconds(axis)
    squares, logs = np.zeros(acceleration.shape), np.zeros(acceleration.shape)
    mean, covariance = np.zeros((*acceleration.shape, 2, 2)), np.zeros((*acceleration.shape, 3))
    for row in range(len(columns)):
        point: Array = columns[row]
        if row:
            seconds = axis.seconds[row] - axis.seconds[row - 1]
            mean, covariance = _predict(mean, covariance, seconds, acceleration)
        if (used := counts[row]).any():
            variance = covariance[:, used, 0] + noise[row, used]  # (G, C used)
            surprise = point[used] - mean[:, used, 0]  # (G, C used, 2)
            squares[:, used] += (surprise**2).sum(axis=-1) / variance
            logs[:, used] += np.log(variance)
        mean, covariance = _update(mean, covariance, point, noise[row])
        if (begins := first[row]).any():
            start = _begin(point[begins], noise[row, begins], np.ones(1), frame_seconds)
            mean[:, begins], covariance[:, begins] = start
    return squares, logs


def _smooth_backwards(
    means: Array, covariances: Array, axis: TimeAxis, first: Array, acceleration: Array
) -> tuple[Array, Array]:
    """Smoothed positions (T, C, 2) and their variances (T, C): each row corrected by what the next one of its run became."""
    smooth, variances = means[:, :, 0].copy(), covariances[..., 0].copy()
    state, covariance = means[-1], covariances[-1]
    for row in range(len(means) - 2, -1, -1):
        seconds = axis.seconds[row + 1] - axis.seconds[row]
        ahead, (pp, pv, vv) = _predicted(means[row], covariances[row], seconds, acceleration)
        here_pp, here_pv, here_vv = np.moveaxis(covariances[row], -1, 0)
        # P F' of the row, times the inverse of the covariance predicted from it.
        to_p = np.stack([here_pp + seconds * here_pv, here_pv + seconds * here_vv], axis=-1)  # (C, 2)
        to_v = np.stack([here_pv, here_vv], axis=-1)
        determinant = np.where(first[row + 1], 1.0, pp * vv - pv**2)[:, None]
        gain_p = (to_p * vv[:, None] - to_v * pv[:, None]) / determinant
        gain_v = (to_v * pp[:, None] - to_p * pv[:, None]) / determinant
        change = state - ahead  # (C, 2, 2)
        corrected = means[row] + gain_p[..., None] * change[:, :1] + gain_v[..., None] * change[:, 1:]
        surplus = covariance - np.stack([pp, pv, vv], axis=-1)  # (C, 3)
        ends = first[row + 1][:, None]
        covariance = np.where(ends, covariances[row], covariances[row] + _congruent(gain_p, gain_v, surplus))
        state = np.where(ends[..., None], means[row], corrected)
        smooth[row], variances[row] = state[:, 0], covariance[:, 0]
    return smooth, np.maximum(variances, 0)


def _congruent(gain_p: Array, gain_v: Array, covariance: Array) -> Array:
    """G S G' of gains whose columns are (C, 2) each, and symmetric S (C, 3): (C, 3)."""
    pp, pv, vv = np.moveaxis(covariance, -1, 0)
    to_p = gain_p * pp[:, None] + gain_v * pv[:, None]  # (C, 2), the first column of G S
    to_v = gain_p * pv[:, None] + gain_v * vv[:, None]
    return np.stack(
        [
            to_p[:, 0] * gain_p[:, 0] + to_v[:, 0] * gain_v[:, 0],
            to_p[:, 0] * gain_p[:, 1] + to_v[:, 0] * gain_v[:, 1],
            to_p[:, 1] * gain_p[:, 1] + to_v[:, 1] * gain_v[:, 1],
        ],
        axis=-1,
    )


def _predicted(mean: Array, covariance: Array, seconds: float, acceleration: Array) -> tuple[Array, tuple[Array, ...]]:
    ahead, after = _predict(mean, covariance, seconds, acceleration)
    return ahead, tuple(np.moveaxis(after, -1, 0))
