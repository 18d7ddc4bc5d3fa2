"""Times of the rows of a table of poses, and runs of rows without a gap."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dlcpose.structures.pose_tracks import PoseTracks

logger = logging.getLogger(__name__)

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
EVEN_WITHIN = 0.5  # frames: time stamps are rounded by their file, to 1 ms in mkv, which is no varying frame rate


@dataclass(frozen=True)
class TimeAxis:
    """Frame numbers and times of the T rows of a table.

    frames: (T,) numbers of the frames, rising. seconds: (T,), rising and finite. step: frames from a row to the next as a
    rule: 1, or more where every n-th frame was predicted. is_even: whether rows without a jump between them follow each
    other at equal times: the frame rate is constant, and so is the number of frames from row to row, which that of a camera
    is not.
    """

    frames: Integers
    seconds: Doubles
    step: int
    is_even: bool

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def jumps(self) -> npt.NDArray[np.bool_]:
        """Where more frames than usual lie between a row and the one before: (T,)."""
        return np.concatenate([np.zeros(min(len(self), 1), bool), _are_jumps(np.diff(self.frames), self.step)])


def time_axis(tracks: PoseTracks) -> TimeAxis:
    """The time axis of a table of poses: its presentation times, smoothed where the frame rate is constant.

    Rows without a time get it from their neighbors'. Without any times, or where they do not rise, the frame numbers
    and the mean frame rate have to do, and a warning says so where times were there.
    """
    frames = tracks.frame_indices
    step = int(np.median(np.diff(frames))) if len(frames) > 1 else 1
    if len(frames) < 2:
        return TimeAxis(frames, np.zeros(len(frames)), step, True)
    apart = np.diff(frames)
    is_regular = bool(np.all((apart == step) | _are_jumps(apart, step)))
    frame_seconds = 1 / tracks.video.fps if tracks.video.fps > 0 else 1.0
    known = np.isfinite(tracks.times)
    if known.sum() < 2 or np.any(np.diff(tracks.times[known]) <= 0):
        if known.any():
            logger.warning(
                "%s: expected times that rise from frame to frame, got others. Frames count as evenly spaced.",
                tracks.video.path,
            )
        return TimeAxis(frames, np.asarray(frames * frame_seconds, np.float64), step, is_regular)
    first, last = np.flatnonzero(known)[[0, -1]]
    frame_seconds = float((tracks.times[last] - tracks.times[first]) / (frames[last] - frames[first]))
    even = np.asarray(tracks.times[first] + (frames - frames[first]) * frame_seconds, np.float64)  # (T,)
    if np.abs(even - tracks.times)[known].max() <= EVEN_WITHIN * frame_seconds:
        return TimeAxis(frames, even, step, is_regular)
    return TimeAxis(frames, _between_known(frames, tracks.times, known, frame_seconds), step, False)


def _are_jumps(apart: Integers, step: int) -> npt.NDArray[np.bool_]:
    """Which numbers of frames from row to row are more than usual; those of a camera vary around the usual one."""
    return apart > 1.5 * step


def find_runs(is_present: npt.NDArray[np.bool_], axis: TimeAxis) -> list[slice]:
    """The longest stretches of rows that are present, (T,), with no missing row and no jump within."""
    starts = is_present & (np.concatenate([[True], ~is_present[:-1]]) | axis.jumps)
    ends = is_present & (np.concatenate([~is_present[1:], [True]]) | np.concatenate([axis.jumps[1:], [True]]))
    return [slice(int(a), int(b) + 1) for a, b in zip(np.flatnonzero(starts), np.flatnonzero(ends), strict=True)]


def _between_known(frames: Integers, times: Doubles, known: npt.NDArray[np.bool_], frame_seconds: float) -> Doubles:
    """Times of all rows: known ones as they are, others by frame number between or beyond them."""
    seconds = np.interp(frames, frames[known], times[known])
    first, last = np.flatnonzero(known)[[0, -1]]
    seconds[:first] = times[first] + (frames[:first] - frames[first]) * frame_seconds
    seconds[last + 1 :] = times[last] + (frames[last + 1 :] - frames[last]) * frame_seconds
    return np.asarray(seconds, np.float64)
