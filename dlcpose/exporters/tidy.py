"""Poses in tidy columns: a row for each keypoint of each animal in each frame."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.structures.pose_tracks import PoseTracks

COLUMNS = ("frame", "time", "individual", "keypoint", "x", "y", "score")


def tidy_columns(tracks: PoseTracks) -> dict[str, npt.NDArray[Any]]:
    """Arrays of one length by name of column, sorted by frame: T * (N * K + U) rows, missing ones among them.

    frame int64, time float64 seconds, individual and keypoint as objects (the individual of a unique keypoint is None),
    x, y (NaN where missing) and score (0 where missing) float32.
    """
    frames, skeleton = len(tracks), tracks.skeleton
    owners: list[tuple[str | None, str]] = [(animal, name) for animal in tracks.individuals for name in skeleton.names]
    owners += [(None, name) for name in skeleton.unique]
    points = np.concatenate([tracks.keypoints_in_image.reshape(frames, -1, 2), tracks.unique_in_image], axis=1)
    scores = np.concatenate([tracks.keypoint_scores.reshape(frames, -1), tracks.unique_scores], axis=1)
    return {
        "frame": np.repeat(tracks.frame_indices, len(owners)),
        "time": np.repeat(tracks.times, len(owners)),
        "individual": np.tile(np.array([individual for individual, _ in owners], object), frames),
        "keypoint": np.tile(np.array([name for _, name in owners], object), frames),
        "x": points[..., 0].ravel(),
        "y": points[..., 1].ravel(),
        "score": scores.ravel(),
    }
