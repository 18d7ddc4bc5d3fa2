"""Predictions as DeepLabCut's own tables: one key, a row for every frame, x, y and likelihood of every keypoint."""

from pathlib import Path

import numpy as np
import pandas as pd
import tables

from dlcpose.exporters.deeplabcut_columns import PREDICTIONS, check_individuals_apart, table_columns
from dlcpose.exporters.formats import TableTarget, provenance, table_format
from dlcpose.exporters.pandas_hdf5 import pandas_hdf5
from dlcpose.structures.atomic_files import atomic_output, write_output
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks

KEY = "df_with_missing"  # every reader finds it, with the key or without; DeepLabCut's own tracker writes "tracks"
TRACKED = "_el"  # what DeepLabCut's default tracker appends to the names of its files
LEAVES_OUT = ("times", "boxes", "scores of the animals", "identities")


def _check(tracks: PoseTracks) -> None:
    check_individuals_apart(tracks.individuals, tracks.skeleton, tracks.video.path)


@table_format("deeplabcut", suffix=".h5", leaves_out=LEAVES_OUT, check_poses=_check)
def write_deeplabcut(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}{scorer}[_el].h5`, where `_el` marks several animals with tracks."""
    path = target.path(f"{target.scorer}{track_mark(tracks)}.h5")
    write_deeplabcut_h5(path, tracks, target.scorer)
    return [path]


@table_format("deeplabcut_csv", suffix=".csv", leaves_out=LEAVES_OUT, check_poses=_check)
def write_deeplabcut_csv(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}{scorer}[_el].csv`, coordinates with the digits that float32 has."""
    path = target.path(f"{target.scorer}{track_mark(tracks)}.csv")
    with atomic_output(path) as partial:
        deeplabcut_frame(tracks, target.scorer).astype(np.float32).to_csv(partial)
    return [path]


def write_deeplabcut_h5(path: Path, tracks: PoseTracks, scorer: str) -> None:
    """Write the table to a file of any name. Raises DataError where there are more columns than HDF5 has room to name."""
    table = deeplabcut_frame(tracks, scorer)
    attributes = {f"dlcpose_{name}": "" if value is None else str(value) for name, value in provenance(tracks).items()}
    try:
        content = pandas_hdf5(table, KEY, layout="table", attributes=attributes)
    except tables.exceptions.HDF5ExtError as error:
        raise DataError(
            f"{path}: DeepLabCut's h5 has room for 64 KB of column names, too little for these "
            f"{table.shape[1]} columns. Write deeplabcut_csv or parquet instead."
        ) from error
    write_output(path, content)


def deeplabcut_frame(tracks: PoseTracks, scorer: str) -> pd.DataFrame:
    """The table of poses that have a row for every frame: float64, rows 0..T-1, missing as NaN, NaN, 0.

    One animal without unique keypoints has the columns scorer, bodyparts, coords; otherwise individuals come after the
    scorer, unique keypoints last, under `single`.
    """
    animals = np.concatenate([tracks.keypoints_in_image, tracks.keypoint_scores[..., None]], axis=-1)  # (T, N, K, 3)
    unique = np.concatenate([tracks.unique_in_image, tracks.unique_scores[..., None]], axis=-1)  # (T, U, 3)
    frames = len(tracks)
    values = np.concatenate([animals.reshape(frames, -1), unique.reshape(frames, -1)], axis=1).astype(np.float64)
    individuals = tracks.individuals if is_multi_animal(tracks) else None
    columns = table_columns(scorer, individuals, tracks.skeleton.names, tracks.skeleton.unique, PREDICTIONS)
    return pd.DataFrame(values, index=tracks.frame_indices, columns=columns)


def is_multi_animal(tracks: PoseTracks) -> bool:
    """Whether the table has a row of individuals in its head."""
    return len(tracks.individuals) != 1 or bool(tracks.skeleton.unique)


def track_mark(tracks: PoseTracks) -> str:
    """What DeepLabCut expects after the scorer: `_el` for several animals with tracks, else nothing."""
    return TRACKED if is_multi_animal(tracks) and tracks.is_tracked else ""
