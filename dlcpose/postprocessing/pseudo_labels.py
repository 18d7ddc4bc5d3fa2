"""Pseudo-labels: which frames of a video an ensemble is sure of, and labels from its smoothed poses for another model.

Source: smoothed ensembles distilled into one model by Biderman et al. 2024 and LP3D (2510.09903): of frames of low posterior
variance, those that differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.video_frames import VideoFrames
from dlcpose.postprocessing.frames_to_label import POOL, choose_diverse, pose_features
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.sample import FrameLabels, Image, labels_of
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]
TOGETHER = 32  # frames that are read at once


@dataclass(frozen=True)
class EnsemblePseudoLabels:
    """How a student gets labels from an ensemble of teachers; an option of `pseudo_labels=`.

    teachers: models that are trained first, as the run itself but from other seeds. checkpoints: further teachers, trained
    elsewhere on the same keypoints. frames: pseudo-labeled ones, over all videos. share: of the frames that the student sees
    in an epoch, those that are pseudo-labeled; an epoch stays as long.
    min_score: frames with an animal whose mean score, over its keypoints and the teachers, is lower are left out.
    max_deviation: pixels of the video, the root mean square of the posterior standard deviations of a frame's keypoints, at
    most; None: the median of a video's frames, so that the surer half of them is chosen from.
    max_missing: share of the keypoints of a frame's animals that may be missing.
    Raises ConfigError for values outside their range, and for fewer than two teachers.
    """

    teachers: int = 3
    checkpoints: Sequence[str] = ()
    frames: int = 100
    share: float = 0.5
    min_score: float = 0.3
    max_deviation: float | None = None
    max_missing: float = 0.1

    def __post_init__(self) -> None:
        ranges = {
            "teachers": (self.teachers >= 0, "0 or more"),
            "frames": (self.frames >= 1, "1 or more"),
            "share": (0 < self.share < 1, "a share between 0 and 1"),
            "min_score": (0 <= self.min_score <= 1, "a score from 0 to 1"),
            "max_deviation": (self.max_deviation is None or self.max_deviation > 0, "null, or pixels above 0"),
            "max_missing": (0 <= self.max_missing < 1, "a share from 0 to below 1"),
        }
        for name, (is_right, expected) in ranges.items():
            if not is_right:
                raise ConfigError(f"pseudo_labels.{name}: expected {expected}, got {getattr(self, name)}.")
        if self.teachers + len(self.checkpoints) < 2:
            raise ConfigError(
                f"pseudo_labels: expected two teachers or more, got teachers={self.teachers} and "
                f"{counted(len(self.checkpoints), 'checkpoint')}. One alone has no other to compare with."
            )

    def sure_rows(self, smoothed: PoseTracks) -> tuple[Array, Array]:
        """Rows of a smoothed ensemble that may be labels, and the deviation in every row: rows rising, (T,) px."""
        present = smoothed.is_present  # (T, N)
        known = ~np.isnan(smoothed.keypoints_in_image[..., 0])  # (T, N, K)
        means = np.where(known, smoothed.keypoint_scores, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)  # (T, N)
        scores = np.where(present, means, 1.0).min(axis=1, initial=1.0)
        deviations = frame_deviations(smoothed)
        animals = present.sum(axis=1)
        usual = round(float(np.median(animals))) if len(animals) else 0
        missing = 1 - known.sum(axis=(1, 2)) / np.maximum(animals * known.shape[2], 1)
        sure = (animals == usual) & (animals > 0) & (scores >= self.min_score) & (missing <= self.max_missing)
        if sure.any():
            limit = float(np.median(deviations[sure])) if self.max_deviation is None else self.max_deviation
            sure &= deviations <= limit
        return np.flatnonzero(sure), deviations

    def choose(self, smoothed: PoseTracks, labeled: "Labeled", count: int, rng: np.random.Generator) -> list[int]:
        """Rows of one video to make labels of, rising: unlike each other, and of each kind of pose the most certain."""
        rows, deviations = self.sure_rows(smoothed)
        rows = rows[~labeled.covers(smoothed.frame_indices[rows], smoothed.video.fps)]
        if not len(rows):
            return []
        if len(rows) > POOL * count:  # neighbors in time show the same
            rows = rows[np.linspace(0, len(rows) - 1, POOL * count).round().astype(int)]
        features = pose_features(smoothed, rows)
        return [int(row) for row in rows[choose_diverse(features, -deviations[rows], count, rng)]]


def frame_deviations(smoothed: PoseTracks) -> Array:
    """The root mean square of the posterior standard deviations of each frame's keypoints: (T,) px, 0 without any."""
    assert smoothed.keypoint_spreads is not None
    known = ~np.isnan(smoothed.keypoints_in_image[..., 0])  # (T, N, K)
    squares = np.where(known, smoothed.keypoint_spreads.astype(np.float64) ** 2, 0)
    return np.asarray(np.sqrt(squares.sum(axis=(1, 2)) / np.maximum(known.sum(axis=(1, 2)), 1)))


@dataclass(frozen=True)
class Labeled:
    """Numbers of the frames of a video that people labeled: those to train on, and those of validation and test."""

    train: Array
    held_out: Array

    def covers(self, frames: Array, fps: float) -> Array:
        """Which frames are labeled, or within a second of a validation or test frame, whose picture they nearly are: (F,)."""
        near = fps if fps > 0 else 25.0
        found = np.isin(frames, self.train)
        if len(self.held_out):
            found |= np.abs(np.asarray(frames)[:, None] - self.held_out).min(axis=1) <= near
        return np.asarray(found)


class PseudoLabeledVideos(LabeledFrames):
    """The chosen rows of smoothed ensembles as labeled frames, with the images of their videos.

    skeleton, individuals: of the data that they go beside. chosen: rows of each of the tracks.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        individuals: tuple[str, ...],
        tracks: Sequence[PoseTracks],
        chosen: Sequence[Sequence[int]],
        min_score: float,
    ) -> None:
        self.skeleton, self.individuals = skeleton, individuals
        self.videos = [VideoFrames(each.video.path) for each in tracks]
        places = [(video, row) for video, rows in enumerate(chosen) for row in rows]
        self.sources = [(video, int(tracks[video].frame_indices[row])) for video, row in places]
        self._read: dict[int, Image] = {}  # images by index
        self.frames = [_labels(tracks[video], row, min_score) for video, row in places]
        if not self.frames:
            raise DataError(
                "pseudo_labels: the teachers are sure of no frame of the videos (those within a second of validation and "
                "test frames do not count). Lower pseudo_labels.min_score, raise pseudo_labels.max_deviation or max_missing, "
                "train the teachers longer, or give other videos; resume=last goes on from the teachers."
            )

    def read_image(self, index: int) -> Image:
        # Several at once: key frames may lie far apart, and all that follow one are decoded for each frame that is read.
        if index not in self._read:
            video = self.sources[index][0]
            places = [
                at for at in range(index, min(index + TOGETHER, len(self.sources))) if self.sources[at][0] == video
            ]
            images = self.videos[video].read_several([self.sources[at][1] for at in places])
            self._read = dict(zip(places, images, strict=True))
        return self._read[index]


def _labels(tracks: PoseTracks, row: int, min_score: float) -> FrameLabels:
    number, video = int(tracks.frame_indices[row]), Path(tracks.video.path).stem
    unique = np.where((tracks.unique_scores[row] >= min_score)[:, None], tracks.unique_in_image[row], np.nan)
    return labels_of(
        f"{video}/img{number:06d}.png",
        (tracks.video.height, tracks.video.width),
        tracks.keypoints_in_image[row][tracks.is_present[row]],
        unique_in_image=unique.astype(np.float32),
        video=video,
        frame_index=number,
    )
