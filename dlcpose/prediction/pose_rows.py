"""Predictions of frames as arrays: a row for each animal (PoseRows), or a column for each (PoseTracks)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.structures.instances import Integers, PosePrediction
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]
OF_ANIMALS = ("keypoints_in_image", "keypoint_scores", "scores", "boxes_in_image", "identities")
OF_FRAMES = ("unique_in_image", "unique_scores")


@dataclass(frozen=True)
class PoseRows:
    """The animals of T frames one after the other: S rows in all.

    frame_indices, times: (T,). counts: (T,) animals in each frame. animals: arrays of PosePrediction's fields, (S, ...).
    frames: those of the arena, (T, U, ...). track_ids: (S,) from 0, where the animals were followed.
    """

    frame_indices: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    animals: Mapping[str, Array]
    frames: Mapping[str, Array]
    track_ids: Integers | None = None

    def __len__(self) -> int:
        return len(self.frame_indices)

    def last(self) -> PosePrediction | None:
        """The prediction of the last frame."""
        if not len(self):
            return None
        start = len(self.animals["scores"]) - int(self.counts[-1])
        animals = {name: values[start:] for name, values in self.animals.items()}
        return PosePrediction(
            str(self.frame_indices[-1]), **animals, **{name: values[-1] for name, values in self.frames.items()}
        )


def rows_of(frame_indices: Sequence[int], times: Sequence[float], predictions: Sequence[PosePrediction]) -> PoseRows:
    """Predictions of one frame at least as rows."""
    return PoseRows(
        frame_indices=np.array(frame_indices, np.int64),
        times=np.array(times, np.float64),
        counts=np.array([len(each) for each in predictions], np.int64),
        animals={name: np.concatenate([getattr(each, name) for each in predictions]) for name in OF_ANIMALS},
        frames={name: np.stack([getattr(each, name) for each in predictions]) for name in OF_FRAMES},
    )


def joined(stretches: Sequence[PoseRows]) -> PoseRows:
    """Rows of several stretches, one at least, as those of one; either all of them were followed or none."""
    ids = [part.track_ids for part in stretches if part.track_ids is not None]
    return PoseRows(
        np.concatenate([part.frame_indices for part in stretches]),
        np.concatenate([part.times for part in stretches]),
        np.concatenate([part.counts for part in stretches]),
        {name: np.concatenate([part.animals[name] for part in stretches]) for name in OF_ANIMALS},
        {name: np.concatenate([part.frames[name] for part in stretches]) for name in OF_FRAMES},
        np.concatenate(ids) if ids else None,
    )


def no_rows(skeleton: Skeleton) -> PoseRows:
    """Rows of no frame."""
    keypoints, unique = len(skeleton), len(skeleton.unique)
    shapes = {"keypoints_in_image": (0, keypoints, 2), "keypoint_scores": (0, keypoints), "scores": (0,)}
    animals: dict[str, Array] = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    animals |= {"boxes_in_image": np.zeros((0, 4), np.float32), "identities": np.zeros(0, np.int64)}
    frames = {
        "unique_in_image": np.zeros((0, unique, 2), np.float32),
        "unique_scores": np.zeros((0, unique), np.float32),
    }
    integers: npt.NDArray[np.int64] = np.zeros(0, np.int64)
    return PoseRows(integers, np.zeros(0), integers, animals, frames)


def tracks_of(
    rows: PoseRows,
    skeleton: Skeleton,
    video: VideoInfo,
    individuals: tuple[str, ...],
    *,
    is_tracked: bool,
    columns: Integers | None = None,
) -> PoseTracks:
    """Rows as arrays over frames and columns; surplus columns of a frame are missing.

    columns: (S,) that of each animal; the order in which a frame has them unless given.
    Raises ValueError where a frame has more animals than there are individuals.
    """
    count, width = len(rows), len(individuals)
    if count and rows.counts.max() > width:
        raise ValueError(f"expected {width} animals in a frame at most, got {rows.counts.max()}")
    owners = np.repeat(np.arange(count), rows.counts)  # (S,)
    places = np.arange(len(owners)) - np.repeat(np.cumsum(rows.counts) - rows.counts, rows.counts)
    places = places if columns is None else columns
    missing = {"keypoints_in_image": np.nan, "boxes_in_image": np.nan, "identities": -1}
    arrays = {}
    for name, values in rows.animals.items():
        arrays[name] = np.full((count, width, *values.shape[1:]), missing.get(name, 0), values.dtype)
        arrays[name][owners, places] = values
    # In a table a keypoint has both coordinates or none, and a missing one has no score.
    is_missing = np.isnan(arrays["keypoints_in_image"]).any(axis=-1)
    arrays["keypoints_in_image"][is_missing] = np.nan
    arrays["keypoint_scores"][is_missing] = 0.0
    for name in ("keypoint_scores", "scores"):
        arrays[name] = arrays[name].clip(0, 1)
    unique_in_image, unique_scores = rows.frames["unique_in_image"], rows.frames["unique_scores"]
    if not unique_scores.shape[1]:  # a model of crops, or one without a head for them, looks for none
        unique_in_image = np.full((count, len(skeleton.unique), 2), np.nan, np.float32)
        unique_scores = np.zeros((count, len(skeleton.unique)), np.float32)
    return PoseTracks(
        skeleton=skeleton,
        video=video,
        individuals=individuals,
        is_tracked=is_tracked,
        frame_indices=rows.frame_indices,
        times=rows.times,
        unique_in_image=unique_in_image,
        unique_scores=unique_scores.clip(0, 1),
        **arrays,
    )
