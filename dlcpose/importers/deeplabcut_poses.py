"""Predictions of DeepLabCut: its h5 and csv, of one animal or several. Lightning Pose and others write the same csv."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from dlcpose.datasets.deeplabcut_config import UNIQUE_INDIVIDUAL
from dlcpose.datasets.deeplabcut_tables import LIKELIHOOD, Column, PredictionTable, read_predictions
from dlcpose.datasets.hdf5_kinds import top_level_of
from dlcpose.exporters.deeplabcut_columns import LABELS, PREDICTIONS
from dlcpose.exporters.deeplabcut_table import TRACKED
from dlcpose.importers.pose_formats import ForeignPoses, pose_format
from dlcpose.structures.data_files import shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import column_names
from dlcpose.structures.skeleton import Skeleton, pairs_from_names

FILTERED = "_filtered"
TRACKERS = (TRACKED, "_bx", "_sk", "_ctd")  # what DeepLabCut's trackers append to the names of their files
TRACKS_KEY = "tracks"  # of the tables that its stitching writes
HEAD = (b"scorer,", b'"scorer",', b"\xef\xbb\xbfscorer,")
MAX_FRAMES = 2**31
DEPTH = "z"


def _can_read(path: Path) -> bool:
    if h5py.is_hdf5(path):
        return top_level_of(path).has_pandas
    with path.open("rb") as file:
        return file.read(16).startswith(HEAD)


@pose_format("deeplabcut", opens="DeepLabCut's predictions (.h5, .csv)", can_read=_can_read)
def read_deeplabcut(path: Path, is_tracked: bool | None) -> list[ForeignPoses]:
    """The table of one video: its scorer ends the file's name, before the marks of a tracker and a filter.

    Several animals are tracked where the name has the mark of a tracker, or the table its key; those of a table without
    stand in the order of a frame. A keypoint is missing where it is NaN, or has a likelihood below 0 (DeepLabCut's
    untracked tables have -1 then).
    """
    table = read_predictions(path)
    stem, is_marked = _without_marks(path.stem)
    frames = _frame_numbers(table)
    order = np.argsort(frames, kind="stable")
    places, notes = _places(table)
    unique = places.pop(UNIQUE_INDIVIDUAL, {}) if len(places) > 1 else {}
    individuals = tuple(places)
    names = _keypoints(path, places)
    is_several = individuals != ("",)
    tracked = len(individuals) == 1 or is_marked or table.key == TRACKS_KEY
    points, scores = _points(table, order, [[places[each][name] for name in names] for each in individuals])
    unique_points, unique_scores = _points(table, order, [list(unique.values())])
    return [
        ForeignPoses(
            program="DeepLabCut",
            scorer=table.scorer,
            video=stem.removesuffix(table.scorer) or stem,
            skeleton=Skeleton(
                names,
                pairs=pairs_from_names(names),
                unique=tuple(unique),
                unique_pairs=pairs_from_names(tuple(unique)),
            ),
            individuals=individuals if is_several else column_names(1, ()),
            is_tracked=tracked if is_tracked is None else is_tracked,
            frames=frames[order],
            points=points,
            scores=scores,
            unique=unique_points[:, 0],
            unique_scores=unique_scores[:, 0],
            notes=notes,
        )
    ]


def _without_marks(stem: str) -> tuple[str, bool]:
    """A table's name without the marks of filter and tracker, and whether a tracker has marked it."""
    stem = stem.removesuffix(FILTERED)
    mark = next((mark for mark in TRACKERS if stem.endswith(mark)), "")
    return stem.removesuffix(mark), bool(mark)


def _frame_numbers(table: PredictionTable) -> npt.NDArray[np.int64]:
    """The numbers of the rows' frames: (T,). Raises DataError for names of images, and for repeated ones."""
    numbers = [_number(row) for row in table.rows]
    if (name := next((row for row, each in zip(table.rows, numbers, strict=True) if each is None), None)) is not None:
        has_likelihood = any(coordinate == LIKELIHOOD for _, _, coordinate in table.columns)
        kind = "the labels or predictions of single images" if has_likelihood else "labels"
        raise DataError(
            f"{table.path}: expected predictions of a video, whose rows are numbers of frames, got {kind} (a row "
            f"{name[:80]!r}). dataset=deeplabcut and `dlcpose convert` read a project's labels."
        )
    as_numbers = np.array(numbers, np.float64)
    is_frame = (as_numbers >= 0) & (as_numbers < MAX_FRAMES) & (as_numbers % 1 == 0)  # NaN is not
    if not is_frame.all():
        wrong = table.rows[int(is_frame.argmin())]
        raise DataError(f"{table.path}: expected rows that are numbers of frames, 0, 1, 2, ..., got {wrong[:80]!r}.")
    frames = as_numbers.astype(np.int64)
    if not len(frames):
        raise DataError(f"{table.path}: expected a row for each frame, got none.")
    frame, counts = np.unique(frames, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"{table.path}: expected each frame once, got {frame[counts > 1][0]} {counts[counts > 1][0]} times. Keep one."
        )
    return frames


def _number(row: str) -> float | None:
    try:
        return float(row)
    except ValueError:
        return None


def _places(table: PredictionTable) -> tuple[dict[str, dict[str, list[int]]], tuple[str, ...]]:
    """The places of x, y and likelihood of each body part of each individual, and notes on what there is beside or is not.

    No table of DeepLabCut's lacks the likelihood, but others' do: there are no places of it then.
    """
    column_of: dict[Column, int] = {column: place for place, column in enumerate(table.columns)}
    others = sorted({coordinate for _, _, coordinate in table.columns} - set(PREDICTIONS))
    if DEPTH in others:
        raise DataError(f"{table.path}: expected poses in the pixels of a video, got poses in space (x, y, z).")
    has_likelihood = any(coordinate == LIKELIHOOD for _, _, coordinate in table.columns)
    expected = PREDICTIONS if has_likelihood else LABELS
    notes = [f"columns {', '.join(others)} are left out"] if others else []
    notes += [] if has_likelihood else ["the table has no likelihood: all keypoints with a place count as 1"]
    places: dict[str, dict[str, list[int]]] = {}
    for individual, name, _ in table.columns:
        for coordinate in expected:
            if (individual, name, coordinate) not in column_of:
                named = " ".join(filter(None, [individual, name]))
                raise DataError(f"{table.path}: expected a column {coordinate} of {named[:80]}, got none.")
        places.setdefault(individual, {})[name] = [column_of[individual, name, coordinate] for coordinate in expected]
    return places, tuple(notes)


def _keypoints(path: Path, places: Mapping[str, Mapping[str, list[int]]]) -> tuple[str, ...]:
    """The names of the keypoints, which have to be the same of each individual."""
    names = tuple(next(iter(places.values()), ()))
    for individual, own in places.items():
        if set(own) != set(names):
            raise DataError(
                f"{path}: expected the body parts {shown(names)} of each individual, got {shown(tuple(own))} of "
                f"{individual[:80]!r}."
            )
    return names


def _points(
    table: PredictionTable, order: npt.NDArray[np.int64], places: Sequence[Sequence[Sequence[int]]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points (T, N, K, 2) and scores (T, N, K) from the places of N x K columns of x, y and likelihood."""
    if not places or not places[0]:
        return np.zeros((len(order), 1, 0, 2)), np.zeros((len(order), 1, 0))
    values = table.values[order][:, np.array(places, np.int64)]  # (T, N, K, 2 or 3)
    if values.shape[-1] == len(LABELS):
        return values, np.ones(values.shape[:-1])
    with np.errstate(invalid="ignore"):
        is_missing = values[..., 2] < 0
    return np.where(is_missing[..., None], np.nan, values[..., :2]), np.where(is_missing, 0.0, values[..., 2])
