"""Filters over the time of a video: confidence cut, interpolation over short gaps, median, Savitzky-Golay.

Points are (T, ..., 2) pixels, NaN where missing. Only `interpolate_gaps` fills in points, and none in a gap longer than its
limit. The others work on each run of rows without a gap by itself, so what is missing stays missing and nothing is
carried across a gap.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

from dlcpose.postprocessing.time_axis import TimeAxis, find_runs

Array = npt.NDArray[Any]


def cut_by_confidence(points: Array, scores: Array, cutoff: float) -> tuple[Array, Array]:
    """Points and scores without those below the cutoff: (..., 2), (...) -> NaN and 0 where the score is lower."""
    keep = scores >= cutoff
    return np.where(keep[..., None], points, np.nan), np.where(keep, scores, 0.0)


def interpolate_gaps(points: Array, axis: TimeAxis, *, max_frames: int) -> Array:
    """Points with short gaps filled on the straight line, in time, between the points around each: (T, ..., 2).

    max_frames: the longest gap to fill, in frames of the video. A longer gap, and what lies before the first or after the
    last point, stays missing as a whole.
    """
    rows = np.arange(len(points)).reshape(-1, *[1] * (points.ndim - 2))  # (T, 1, ...)
    present = ~np.isnan(points).any(axis=-1)  # (T, ...)
    before = np.maximum.accumulate(np.where(present, rows, -1), axis=0)
    after = np.minimum.accumulate(np.where(present, rows, len(points))[::-1], axis=0)[::-1]
    inside = ~present & (before >= 0) & (after < len(points))
    before, after = np.where(inside, before, 0), np.where(inside, after, 0)
    fill = inside & (axis.frames[after] - axis.frames[before] - 1 <= max_frames)
    row, *column = np.nonzero(fill)
    start, end = before[fill], after[fill]  # (F,) each
    share = (axis.seconds[row] - axis.seconds[start]) / (axis.seconds[end] - axis.seconds[start])
    first, last = points[(start, *column)], points[(end, *column)]  # (F, 2)
    filled = points.copy()
    filled[fill] = first + share[:, None] * (last - first)
    return filled


def median_filter(points: Array, axis: TimeAxis, *, window: int) -> Array:
    """The median of x and of y over `window` rows around each: (T, ..., 2). window: odd.

    Near the ends of a run the window holds the rows there are, as pandas' rolling median with min_periods=1 does.
    """

    def filtered(run: Array, _: slice) -> Array:
        half = min(window // 2, len(run))  # more rows there are not, but a window takes memory and time
        smooth = ndimage.median_filter(run, size=(2 * half + 1, 1), mode="nearest")
        for row in {*range(min(half, len(run))), *range(max(0, len(run) - half), len(run))}:
            smooth[row] = np.median(run[max(0, row - half) : row + half + 1], axis=0)
        return smooth

    return _over_runs(points, axis, filtered)


def savgol_filter(points: Array, axis: TimeAxis, *, window: int, order: int) -> Array:
    """Points on polynomials fitted by least squares over `window` rows around each: (T, ..., 2). window: odd.

    order: of the polynomial, below `window`. The first and last rows of a run lie on the polynomial of its first or last
    window; runs shorter than the window stay as they are. Where the frame rate varies, polynomials of time are fitted.
    Source: Savitzky and Golay 1964, scipy.signal.savgol_filter.
    """

    def filtered(run: Array, rows: slice) -> Array:
        if len(run) < window:
            return run
        if axis.is_even:
            return np.asarray(signal.savgol_filter(run, window, order, axis=0, mode="interp"))
        return _fit_local_polynomials(run, axis.seconds[rows], window, order)

    return _over_runs(points, axis, filtered)


def _over_runs(points: Array, axis: TimeAxis, function: Callable[[Array, slice], Array]) -> Array:
    """The function applied to each run (R, 2) of each column by itself; its second argument are the run's rows."""
    if not points.size:
        return points
    columns = points.reshape(len(points), -1, 2).astype(np.float64)  # (T, C, 2)
    for column in range(columns.shape[1]):
        for rows in find_runs(~np.isnan(columns[:, column, 0]), axis):
            columns[rows, column] = function(columns[rows, column], rows)
    return np.asarray(columns.reshape(points.shape), points.dtype)


def _fit_local_polynomials(run: Array, seconds: Array, window: int, order: int) -> Array:
    """scipy's Savitzky-Golay filter for rows at uneven times: (R, 2), (R,) -> (R, 2), R at least `window`."""
    half = window // 2
    centers = np.clip(np.arange(len(run)), half, len(run) - 1 - half)  # (R,): a window's middle row
    rows = centers[:, None] + np.arange(-half, half + 1)  # (R, window)
    # Times are relative to the row, in lengths of its window: powers stay near 1.
    length = (seconds[rows[:, -1]] - seconds[rows[:, 0]])[:, None]
    powers = ((seconds[rows] - seconds[:, None]) / length)[..., None] ** np.arange(order + 1)  # (R, window, order + 1)
    weights = np.linalg.pinv(powers)[:, 0]  # (R, window): what each row adds to the polynomial's value at time 0
    return np.asarray(np.einsum("rw,rwd->rd", weights, run[rows]))
