"""The ensemble Kalman smoother (EKS): where members of an ensemble disagree, what the keypoint did before and after counts.

Source: Biderman et al. 2024, Nature Methods 21:1316, the single-camera smoother: the observation is the members' median, its
noise their variance in that frame; how fast a keypoint may change is fitted to each by likelihood. Here a keypoint keeps
its velocity but for accelerations, as in `kalman`, in place of a random walk of its position.
"""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.postprocessing.kalman import Motion, likelihood_of_accelerations, smooth_columns
from dlcpose.postprocessing.time_axis import TimeAxis, find_runs, time_axis
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks

Array = npt.NDArray[Any]
MIN_SCORE = 0.01  # of a keypoint, by which its variance is divided
MIN_SHARE = 0.1  # of the usual deviation of a keypoint: members that agree by coincidence are not that sure
MIN_DEVIATION = 0.01  # px
# Densities of the acceleration that are tried, over the mean squared second difference of the points per cubed frame time.
RATIOS = np.logspace(-6, 3, 28)


def smooth_ensemble(combined: PoseTracks) -> PoseTracks:
    """The poses of an ensemble, each keypoint smoothed over time by how far its members lie apart in each frame.

    combined: tracks from `combine_members`, with `keypoint_spreads`. Those of the result are posterior deviations: the
    square root of the variance of a coordinate, px. What is missing stays missing, and ends a stretch.
    Raises DataError for poses that are not tracked, or without spreads.
    """
    if not combined.is_tracked or combined.keypoint_spreads is None:
        missing = "a spread of its members" if combined.is_tracked else "tracks"
        raise DataError(
            f"{combined.video.path}: expected {missing} to smooth an ensemble, got none. Combine members, and track them "
            "where there are several animals."
        )
    axis = time_axis(combined)
    points = combined.keypoints_in_image.reshape(len(combined), -1, 2).astype(np.float64)  # (T, C, 2)
    noise = observation_variances(combined.keypoint_spreads, combined.keypoint_scores).reshape(len(combined), -1)
    smooth, variances = smooth_columns(points, axis, noise, fit_smoothness(points, axis, noise))
    shape = combined.keypoint_scores.shape
    return replace(
        combined,
        keypoints_in_image=smooth.reshape(*shape, 2).astype(np.float32),
        keypoint_spreads=np.sqrt(variances).reshape(shape).astype(np.float32),
    )


def observation_variances(spreads: Array, scores: Array) -> Array:
    """The noise of each keypoint in each frame, px²: (T, N, K) twice -> (T, N, K).

    The variance of the members, divided by their mean score: an unsure keypoint is noisier than its members' agreement
    says. A keypoint of one member alone counts as noisy as its noisiest.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of keypoints that are never there
        usual, largest = np.nanmedian(spreads, axis=0), np.nanmax(spreads, axis=0, initial=0)  # (N, K)
    floor = np.maximum(np.nan_to_num(usual) * MIN_SHARE, MIN_DEVIATION)
    deviations = np.maximum(np.where(np.isfinite(spreads), spreads, largest), floor).astype(np.float64)
    return np.asarray(deviations**2 / np.clip(scores, MIN_SCORE, 1))


def fit_smoothness(points: Array, axis: TimeAxis, noise: Array) -> Motion:
    """The acceleration under which points (T, C, 2) with noise (T, C) px² are likeliest, for each of C columns."""
    count = points.shape[1]
    usual = np.array([np.median(column) if len(column) else 1.0 for column in noise.T])
    changes = np.full(count, np.nan)
    for column in range(count):
        runs = find_runs(~np.isnan(points[:, column, 0]), axis)
        squares = [np.diff(points[rows, column], n=2, axis=0) ** 2 for rows in runs if rows.stop - rows.start > 2]
        if squares:
            changes[column] = np.concatenate(squares).mean()
    step = float(np.median(np.diff(axis.seconds))) if len(axis) > 1 else 1.0
    # Of points that never change direction nothing tells: then the noise stands in for it.
    scale = np.where(changes > 0, changes, usual) / step**3
    accelerations = RATIOS[:, None] * scale  # (G, C)
    likelihoods = likelihood_of_accelerations(points, axis, noise, accelerations)
    best = likelihoods.argmax(axis=0)
    return Motion(usual, accelerations[best, np.arange(count)])
