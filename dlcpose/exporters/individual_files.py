"""Poses of one animal out of many, for formats and readers that take one animal a file."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from dlcpose.exporters.file_names import file_part
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks

NOT_OF_AN_ANIMAL = ("frame_indices", "times", "unique_in_image", "unique_scores")  # all other arrays are (T, N, ...)


def without_unique(tracks: PoseTracks) -> PoseTracks:
    """The animals alone, without the unique keypoints."""
    frames = len(tracks)
    return replace(
        tracks,
        skeleton=replace(tracks.skeleton, unique=(), unique_pairs=()),
        unique_in_image=np.zeros((frames, 0, 2), np.float32),
        unique_scores=np.zeros((frames, 0), np.float32),
    )


def one_individual(tracks: PoseTracks, place: int) -> PoseTracks:
    """One column of the poses, without the unique keypoints."""
    column = slice(place, place + 1)
    arrays = {each.name: getattr(tracks, each.name) for each in fields(tracks) if each.name not in NOT_OF_AN_ANIMAL}
    of_animals: dict[str, Any] = {
        name: array[:, column] for name, array in arrays.items() if isinstance(array, np.ndarray)
    }
    return replace(without_unique(tracks), individuals=tracks.individuals[column], **of_animals)


def individual_parts(tracks: PoseTracks) -> list[str]:
    """The individuals' names as parts of file names; none where there is one individual.

    Raises DataError where two become the same.
    """
    if len(tracks.individuals) == 1:
        return [""]
    parts = [file_part(name) for name in tracks.individuals]
    if len({part.lower() for part in parts}) < len(parts):  # some disks do not tell upper from lower case
        raise DataError(
            f"{tracks.video.path}: one file is written for each individual, but the names {list(tracks.individuals)} "
            "are not different as file names. Rename the individuals."
        )
    return parts
