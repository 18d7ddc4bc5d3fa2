"""All filters over the poses of a video, in one fixed order, as a new table of poses."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.postprocessing.filters import cut_by_confidence, interpolate_gaps, median_filter, savgol_filter
from dlcpose.postprocessing.kalman import kalman_smooth
from dlcpose.postprocessing.time_axis import TimeAxis, time_axis
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.pose_tracks import PoseTracks

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Filters:
    """Which filters to run; they run in the order in which they stand here.

    cutoff: keypoints with a lower score are removed. interpolate: the longest gap to fill, in frames. median: rows of the
    median filter. savgol: rows and order of the Savitzky-Golay filter. kalman: whether to run the Kalman smoother, which
    follows an ensemble's spread where there is one.
    Raises ConfigError for a window that is even or below 3, an order that its window does not allow, or no filter at all.
    """

    cutoff: float | None = None
    interpolate: int | None = None
    median: int | None = None
    savgol: tuple[int, int] | None = None
    kalman: bool = False

    def __post_init__(self) -> None:
        if not self.as_dict():
            raise ConfigError(
                "Expected a filter to run, got none. Give one of cutoff, interpolate, median, savgol, kalman."
            )
        if self.cutoff is not None and not 0 <= self.cutoff <= 1:
            raise ConfigError(f"cutoff: expected a score from 0 to 1, got {self.cutoff}.")
        if self.interpolate is not None and self.interpolate < 1:
            raise ConfigError(f"interpolate: expected 1 frame or more, got {self.interpolate}.")
        for name, window in (("median", self.median), ("savgol", self.savgol and self.savgol[0])):
            if window is not None and (window < 3 or window % 2 == 0):
                raise ConfigError(f"{name}: expected an odd number of frames from 3 on, got {window}.")
        if self.savgol is not None and not 0 <= self.savgol[1] < self.savgol[0]:
            raise ConfigError(f"savgol: expected an order below the {self.savgol[0]} frames, got {self.savgol[1]}.")

    def as_dict(self) -> dict[str, Any]:
        """The filters that run, with their settings, in their order; what a file's provenance keeps."""
        return {name: value for name, value in asdict(self).items() if value is not None and value is not False}

    @property
    def needs_tracks(self) -> bool:
        """Whether a filter looks at more than one frame."""
        return bool(self.as_dict().keys() - {"cutoff"})


def filter_tracks(tracks: PoseTracks, filters: Filters) -> PoseTracks:
    """The poses after the filters; the poses given stay as they are.

    Interpolated keypoints have the score 0: the model did not see them. An animal that loses all its keypoints is absent.
    Unique keypoints go through the same filters. Raises DataError for a filter over time on poses without tracking.
    """
    if filters.needs_tracks and not tracks.is_tracked:
        raise DataError(
            f"{tracks.video.path}: expected tracked poses for filters over time, got poses whose columns may change animals "
            "from frame to frame. Track them first (dlcpose track), or give --cutoff alone."
        )
    points, scores = tracks.keypoints_in_image, tracks.keypoint_scores
    unique, unique_scores = tracks.unique_in_image, tracks.unique_scores
    if filters.cutoff is not None:
        points, scores = cut_by_confidence(points, scores, filters.cutoff)
        unique, unique_scores = cut_by_confidence(unique, unique_scores, filters.cutoff)
    axis = time_axis(tracks)
    for each in _over_time(filters, axis):
        points = each(points, tracks.keypoint_spreads)
        unique = each(unique[:, None], None)[:, 0]
    return _with_absent_animals(
        replace(
            tracks,
            keypoints_in_image=points.astype(np.float32),
            keypoint_scores=scores.astype(np.float32),
            unique_in_image=unique.astype(np.float32),
            unique_scores=unique_scores.astype(np.float32),
        )
    )


def _over_time(filters: Filters, axis: TimeAxis) -> list[Callable[[Array, Array | None], Array]]:
    """The filters over time in their order, as functions of points (T, N, K, 2) and an ensemble's spreads (T, N, K)."""
    steps: list[Callable[[Array, Array | None], Array]] = []
    if (max_frames := filters.interpolate) is not None:
        steps.append(lambda points, _: interpolate_gaps(points, axis, max_frames=max_frames))
    if (median := filters.median) is not None:
        steps.append(lambda points, _: median_filter(points, axis, window=median))
    if filters.savgol is not None:
        window, order = filters.savgol
        steps.append(lambda points, _: savgol_filter(points, axis, window=window, order=order))
    if filters.kalman:
        steps.append(lambda points, spreads: kalman_smooth(points, axis, spreads=spreads))
    return steps


def _with_absent_animals(tracks: PoseTracks) -> PoseTracks:
    """The same, with nothing left of keypoints that are missing and of animals without a keypoint."""
    absent, spreads = ~tracks.is_present, tracks.keypoint_spreads
    missing = np.isnan(tracks.keypoints_in_image[..., 0])
    return replace(
        tracks,
        scores=np.where(absent, 0.0, tracks.scores).astype(np.float32),
        boxes_in_image=np.where(absent[..., None], np.nan, tracks.boxes_in_image).astype(np.float32),
        identities=np.where(absent, -1, tracks.identities),
        keypoint_spreads=None if spreads is None else np.where(missing, np.nan, spreads).astype(np.float32),
    )
