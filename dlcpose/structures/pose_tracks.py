"""The poses of a video as arrays over frames and animals, in pixels of the full frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.structures.counted import counted
from dlcpose.structures.skeleton import Skeleton, check_names

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VideoInfo:
    """The video that poses belong to.

    path: where it was read. fingerprint: of its content, the same wherever it lies. height, width: pixels of an upright
    frame. frames: number of frames that could be decoded. fps: mean frames per second, NaN where the file does not say.
    """

    path: str
    fingerprint: str
    height: int
    width: int
    frames: int
    fps: float


@dataclass(frozen=True)
class PoseTracks:
    """Poses in T frames of one video, N columns of animals with K keypoints each, and U unique keypoints.

    frame_indices: (T,) number of each frame in its video, from 0, rising. times: (T,) seconds, presentation time.
    keypoints_in_image: (T, N, K, 2) pixels of the full frame, NaN where missing. keypoint_scores: (T, N, K) in [0, 1],
    0 where missing. scores: (T, N) of the animals, 0 where absent. boxes_in_image: (T, N, 4) x1 y1 x2 y2, NaN without a
    detector. identities: (T, N) predicted index into the model's individuals, -1 where none. unique_in_image: (T, U,
    2), unique_scores: (T, U). keypoint_spreads: (T, N, K) pixels, how far the members of an ensemble lie from its pose:
    the standard deviation of a coordinate, NaN where fewer than two members have the keypoint; None for poses of one
    model. individuals: N names of the columns. is_tracked: whether a column is the same animal in every frame; without
    tracking the columns are only the order in which animals were predicted in a frame. Raises ValueError when the
    shapes do not agree, and for names that no table can hold.
    """

    skeleton: Skeleton
    video: VideoInfo
    individuals: tuple[str, ...]
    is_tracked: bool
    frame_indices: Integers
    times: npt.NDArray[np.float64]
    keypoints_in_image: Floats
    keypoint_scores: Floats
    scores: Floats
    boxes_in_image: Floats
    identities: Integers
    unique_in_image: Floats
    unique_scores: Floats
    keypoint_spreads: Floats | None = None

    def __repr__(self) -> str:
        frames, columns, keypoints = self.keypoint_scores.shape
        animals = (
            f"animals {', '.join(self.individuals)}" if self.is_tracked else f"up to {columns} animals, not tracked"
        )
        animals = "one animal" if columns == 1 else animals
        return (
            f"PoseTracks({self.video.path!r}: {counted(frames, 'frame')}, {animals}, {counted(keypoints, 'keypoint')})"
        )

    def __post_init__(self) -> None:
        check_names("individual", self.individuals)
        frames, animals = len(self.frame_indices), len(self.individuals)
        keypoints, unique = len(self.skeleton.names), len(self.skeleton.unique)
        expected = {
            "times": (frames,),
            "keypoints_in_image": (frames, animals, keypoints, 2),
            "keypoint_scores": (frames, animals, keypoints),
            "scores": (frames, animals),
            "boxes_in_image": (frames, animals, 4),
            "identities": (frames, animals),
            "unique_in_image": (frames, unique, 2),
            "unique_scores": (frames, unique),
            "keypoint_spreads": (frames, animals, keypoints),
        }
        for name, shape in expected.items():
            values = getattr(self, name)
            if values is not None and (got := values.shape) != shape:
                raise ValueError(f"{self.video.path}: expected {name} of shape {shape}, got {got}.")
        if np.any(np.diff(self.frame_indices) <= 0):
            raise ValueError(f"{self.video.path}: expected rising frame numbers.")

    def __len__(self) -> int:
        return len(self.frame_indices)

    @property
    def video_frames(self) -> int:
        """The number of frames of the video: poses may go on after the end that it was said to have."""
        return max(self.video.frames, int(self.frame_indices[-1]) + 1 if len(self) else 0)

    @property
    def is_present(self) -> npt.NDArray[np.bool_]:
        """Where a column has an animal, one with a keypoint at least: (T, N)."""
        return np.asarray(~np.isnan(self.keypoints_in_image).any(axis=-1).all(axis=-1))

    def gapless(self) -> "PoseTracks":
        """The tracks with a row for every frame of the video: row i is frame i, NaN where not predicted."""
        count = self.video_frames
        if len(self) == count:
            return self
        filled: dict[str, Any] = {"frame_indices": np.arange(count, dtype=np.int64)}
        for name, missing in _PER_FRAME.items():
            if (values := getattr(self, name)) is None:
                continue
            whole = np.full((count, *values.shape[1:]), missing, values.dtype)
            whole[self.frame_indices] = values
            filled[name] = whole
        return replace(self, **filled)


def column_names(columns: int, individuals: Sequence[str]) -> tuple[str, ...]:
    """Names of columns of animals: the data's own where they are as many, else animal1, animal2, ..."""
    return tuple(individuals) if len(individuals) == columns else tuple(f"animal{each + 1}" for each in range(columns))


# Values of a row without a prediction.
_PER_FRAME = {
    "times": np.nan,
    "keypoints_in_image": np.nan,
    "keypoint_scores": 0.0,
    "scores": 0.0,
    "boxes_in_image": np.nan,
    "identities": -1,
    "unique_in_image": np.nan,
    "unique_scores": 0.0,
    "keypoint_spreads": np.nan,
}
