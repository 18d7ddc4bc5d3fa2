"""A video whose animals a conditional model has followed, as poses with or without a column for each track."""

import heapq
from dataclasses import dataclass

import numpy as np

from dlcpose.datasets.video import VideoReader
from dlcpose.prediction.pose_rows import PoseRows, column_names, tracks_of
from dlcpose.structures.instances import Integers
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.structures.skeleton import Skeleton


@dataclass(frozen=True)
class FollowedVideo:
    """The animals of all frames, and the tracks they were followed in.

    rows: S animals in T frames. track_ids: (S,) from 0, each of one animal at a time. reader: knows what was damaged.
    precision: in which they were predicted.
    """

    rows: PoseRows
    track_ids: Integers
    skeleton: Skeleton
    video: VideoInfo
    reader: VideoReader
    precision: str

    def tracks(self) -> PoseTracks:
        """The poses with a column for each track, however many there are."""
        return self._in_columns(self.track_ids, is_tracked=True)

    def poses(self, pause: int) -> PoseTracks:
        """The poses in few columns: a track has one column, which later tracks have after `pause` frames without an animal.

        A long video has thousands of tracks, and a column for each would not fit into memory.
        """
        return self._in_columns(shared_columns(self.track_ids, self._rows_of_animals(), pause), is_tracked=False)

    def _rows_of_animals(self) -> Integers:
        """The row of each animal's frame: (S,)."""
        return np.repeat(np.arange(len(self.rows)), self.rows.counts)

    def _in_columns(self, columns: Integers, *, is_tracked: bool) -> PoseTracks:
        names = column_names(1 + int(columns.max(initial=0)), ())
        return tracks_of(self.rows, self.skeleton, self.video, names, is_tracked=is_tracked, columns=columns)


def shared_columns(track_ids: Integers, rows: Integers, pause: int) -> Integers:
    """Columns (S,) of animals with these track ids (S,) in these rows (S,), rising: as few as the pauses leave.

    A track keeps its column, which is empty for `pause` rows at least before another track has it.
    """
    tracks, begins, of_animals = np.unique(track_ids, return_index=True, return_inverse=True)
    last = np.zeros(len(tracks), np.int64)
    np.maximum.at(last, of_animals, rows)
    columns = np.zeros(len(tracks), np.int64)
    used: list[tuple[int, int]] = []  # of each column the first row at which another track may have it
    for place in np.argsort(rows[begins], kind="stable").tolist():
        is_free = bool(used) and used[0][0] <= rows[begins[place]]
        column = heapq.heappop(used)[1] if is_free else len(used)
        columns[place] = column
        heapq.heappush(used, (int(last[place]) + pause + 1, column))
    return columns[of_animals]
