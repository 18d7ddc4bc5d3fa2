"""The detections of all frames of a video as flat arrays, the input of the tracker."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.matching import animal_sizes
from dlcpose.structures.pose_tracks import PoseTracks

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Detections:
    """D detections of a video, frame by frame.

    rows, columns: (D,) where each stands in the poses. steps: (D,) frames since the first, in steps of the prediction, not
    seconds as `PoseTracks.times`. keypoints_in_image: (D, K, 2) px, NaN where missing. scores: (D,). identities: (D,)
    predicted, -1 where none. frames: the number of frames T. size: px, the median of the longer side of the boxes around
    the animals' keypoints.
    """

    rows: Array
    columns: Array
    steps: Array
    keypoints_in_image: Array
    scores: Array
    identities: Array
    frames: int
    size: float

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, kept: Array) -> "Detections":
        """Some of them: kept (D,) bool."""
        of_each = ("rows", "columns", "steps", "keypoints_in_image", "scores", "identities")
        return replace(self, **{name: getattr(self, name)[kept] for name in of_each})

    def centroids(self) -> Array:
        """The mean of each detection's keypoints: (D, 2) px."""
        return np.asarray(np.nanmean(self.keypoints_in_image, axis=1))

    def of_frame(self, bounds: Array, row: int) -> Array:
        """The places of the detections of one frame, by `bounds` from `frame_bounds`."""
        return np.arange(bounds[row], bounds[row + 1])

    def frame_bounds(self) -> Array:
        """Where each frame's detections begin and end: (T + 1,)."""
        return np.searchsorted(self.rows, np.arange(self.frames + 1))


def usual_score(poses: PoseTracks, animals: int) -> float:
    """The median score of the `animals` best detections of every frame; 0 without any."""
    scores = np.sort(np.where(poses.is_present, poses.scores, -1.0), axis=1)[:, ::-1][:, :animals]
    return float(np.median(scores[scores >= 0])) if (scores >= 0).any() else 0.0


def detections_of(poses: PoseTracks, min_score: float = 0.0) -> Detections:
    """The animals of every frame with a keypoint at least and a score from `min_score` on."""
    rows, columns = np.nonzero(poses.is_present & (poses.scores >= min_score))
    keypoints = poses.keypoints_in_image[rows, columns].astype(np.float64)
    keypoints[np.isnan(keypoints).any(axis=-1)] = np.nan  # a keypoint with one coordinate is none
    step = max(1, int(np.diff(poses.frame_indices).min())) if len(poses) > 1 else 1
    steps = np.round((poses.frame_indices - poses.frame_indices[:1]) / step).astype(np.int64)
    return Detections(
        rows=rows,
        columns=columns,
        steps=steps[rows],
        keypoints_in_image=keypoints,
        scores=poses.scores[rows, columns].astype(np.float64),
        identities=poses.identities[rows, columns],
        frames=len(poses),
        size=median_size(keypoints),
    )


def median_size(keypoints_in_image: Array) -> float:
    """The median size of animals in pixels: (D, K, 2) -> one number, 1 at least."""
    sizes = animal_sizes(keypoints_in_image)
    known = sizes[~np.isnan(sizes)]
    return max(1.0, float(np.median(known))) if len(known) else 1.0


def completed(keypoints_in_image: Array, before: Array) -> Array:
    """A pose (K, 2) with missing keypoints filled in from an earlier pose, shifted like the others.

    before: (K, 2), NaN where never seen. Without a keypoint in common nothing is filled in.
    """
    missing = np.isnan(keypoints_in_image[:, 0])
    if not missing.any():
        return keypoints_in_image
    shared = ~missing & ~np.isnan(before[:, 0])
    if not shared.any():
        return keypoints_in_image
    moved = (keypoints_in_image[shared] - before[shared]).mean(axis=0)
    return np.where(missing[:, None], before + moved, keypoints_in_image)
