"""Reader of DeepLabCut's label tables, csv or h5, without running code.

The h5 files are pandas frames written with PyTables. Both are unsafe for files of others: PyTables unpickles attributes
that look like a pickle while it opens a file, and pickles can run code. h5py returns the raw bytes. pandas' fixed layout
then needs no pickle, its table layout only one of column names, which goes through `load_restricted_pickle`. Anything else
(columns of Python objects) is refused, and the csv that DeepLabCut writes beside the h5 is read instead.
"""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from dlcpose.datasets.restricted_pickle import load_restricted_pickle
from dlcpose.structures.errors import DataError

logger = logging.getLogger(__name__)

Column = tuple[str, str, str]
H5_KEY = "df_with_missing"


@dataclass(frozen=True)
class LabelTable:
    """The content of one CollectedData file.

    columns: C of (individual, bodypart, coordinate), individual "" where the file has no individuals.
    rows: R paths of images as the file has them, with forward slashes. values: (R, C), NaN where nothing was labeled.
    """

    path: Path
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    values: npt.NDArray[np.float64]


def read_table(folder: Path, name: str) -> LabelTable:
    """The labels in `folder/name`.h5 or .csv: the h5, as DeepLabCut itself reads it, where that is safe.

    Raises DataError when there is no h5 that is safe to read and no csv.
    """
    h5_path, csv_path = folder / f"{name}.h5", folder / f"{name}.csv"  # a scorer's name may contain a dot
    if not h5_path.is_file():
        return read_csv(csv_path)
    try:
        return read_h5(h5_path)
    except DataError as error:
        if not csv_path.is_file():
            raise DataError(
                f"{error} Export the labels as {csv_path.name} beside it: save them again in DeepLabCut, or, if you "
                f"trust the file, run pandas.read_hdf({h5_path.name!r}).to_csv({csv_path.name!r}) in Python."
            ) from error
        logger.warning("%s %s is read instead.", error, csv_path.name)
        return read_csv(csv_path)


def read_csv(path: Path) -> LabelTable:
    """A csv with header rows scorer, (individuals,) bodyparts, coords and one or three index columns.

    Raises DataError, naming row and column, for another header, a row that is too long, or a cell that is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if any(line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: the labels cannot be read ({error}).") from error
    heads = {line[0]: line for line in lines[:4] if line[0] in ("scorer", "individuals", "bodyparts", "coords")}
    if "bodyparts" not in heads or "coords" not in heads:
        raise DataError(
            f"{path}: expected header rows scorer, bodyparts and coords separated by commas, "
            f"got {[line[0][:40] for line in lines[:4]]}. Save the labels again in DeepLabCut."
        )
    index_columns = next((place for place, cell in enumerate(heads["coords"]) if place and cell), 1)
    width = len(heads["coords"])
    names = [heads.get("individuals", [""] * width), heads["bodyparts"], heads["coords"]]
    if len({len(head) for head in names}) > 1:
        raise DataError(f"{path}: expected header rows of one length, got {[len(head) for head in names]}.")
    columns = list(zip(*(head[index_columns:] for head in names), strict=True))
    body = lines[len(heads) :]
    if body and not any(body[0][index_columns:]) and "." not in _place(body[0][:index_columns]):
        body = body[1:]  # pandas writes the names of an index as a row of their own
    values = np.full((len(body), len(columns)), np.nan)
    for row, line in enumerate(body):
        cells = line[index_columns:]
        if any(cells[len(columns) :]):
            raise DataError(f"{path}: {_place(line[:index_columns])} has more than the {len(columns)} columns named.")
        for place, cell in enumerate(cells[: len(columns)]):
            values[row, place] = _number(cell, path, line[:index_columns], columns[place])
    return _checked(path, columns, [_place(line[:index_columns]) for line in body], values)


def read_h5(path: Path) -> LabelTable:
    """A pandas frame in an h5 file, fixed or table layout, read without unpickling anything but plain names.

    Raises DataError when the file is no such frame, or holds Python objects.
    """
    try:
        with h5py.File(path, "r") as file:
            group = file[H5_KEY] if H5_KEY in file else file[min(file)]
            read = _read_table_layout if "table" in group else _read_fixed_layout
            columns, rows, values = read(group, path)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path}: expected a frame of labels written by pandas, got {error}.") from error
    return _checked(path, columns, rows, values)


def _number(cell: str, path: Path, place: Sequence[str], column: Column) -> float:
    if not cell.strip():
        return np.nan
    try:
        return float(cell)
    except ValueError:
        named = " ".join(part for part in column if part)
        raise DataError(
            f"{path}: expected a number for {named} in {_place(place)}, got {cell!r}. Correct the cell or empty it."
        ) from None


def _place(parts: Sequence[str]) -> str:
    return "/".join(parts).replace("\\", "/")


def _checked(path: Path, columns: Sequence[Column], rows: Sequence[str], values: npt.NDArray[np.float64]) -> LabelTable:
    # Tables of predictions have likelihoods, labels do not.
    kept = [place for place, (_, _, coordinate) in enumerate(columns) if coordinate != "likelihood"]
    names = tuple(columns[place] for place in kept)
    if repeated := sorted({column for column in names if names.count(column) > 1}):
        raise DataError(
            f"{path}: expected each column once, got {' '.join(repeated[0]).strip()} more than once. "
            "Keep the labels of one scorer."
        )
    return LabelTable(path, names, tuple(rows), values[:, kept])


def _read_fixed_layout(group: Any, path: Path) -> tuple[list[Column], list[str], npt.NDArray[np.float64]]:
    """pandas' fixed layout: an axis is levels and codes, the values lie in blocks of one type each."""
    rows = [_place(names) for names in _axis(group, "axis1", path)]
    columns: list[Column] = []
    blocks: list[npt.NDArray[np.float64]] = []
    while (name := f"block{len(blocks)}_values") in group:
        items = _axis(group, f"block{len(blocks)}_items", path)
        dataset = group[name]
        if dataset.dtype.kind not in "iuf":
            raise DataError(f"{path}: {name} holds Python objects, which cannot be read safely.")
        values = np.asarray(dataset[()], np.float64)
        columns += [_column(item, path) for item in items]
        blocks.append(values.T if not dataset.attrs.get("transposed", 1) else values)
        if blocks[-1].shape != (len(rows), len(items)):
            raise DataError(f"{path}: expected {name} of shape {(len(rows), len(items))}, got {blocks[-1].shape}.")
    if not blocks:
        raise DataError(f"{path}: expected a frame of labels written by pandas, got {sorted(group)}.")
    return columns, rows, np.concatenate(blocks, axis=1)


def _axis(group: Any, name: str, path: Path) -> list[tuple[str, ...]]:
    """The names along an axis, one tuple each: stored as they are, or as codes into the names of several levels."""
    if name in group:
        return [(label,) for label in _texts(group[name], path)]
    levels: list[list[str]] = []
    while f"{name}_level{len(levels)}" in group:
        labels = [*_texts(group[f"{name}_level{len(levels)}"], path), ""]  # code -1: nothing at this level
        levels.append([labels[code] for code in np.asarray(group[f"{name}_label{len(levels)}"][()], np.int64)])
    if not levels:
        raise DataError(f"{path}: expected the axis {name}, got {sorted(group)}.")
    return list(zip(*levels, strict=True))


def _texts(dataset: Any, path: Path) -> list[str]:
    if dataset.dtype.kind == "S":
        return [bytes(text).decode("utf-8") for text in dataset[()]]
    if dataset.dtype.kind in "iu":
        return [str(number) for number in dataset[()]]
    raise DataError(f"{path}: {dataset.name} holds Python objects, which cannot be read safely.")


def _read_table_layout(group: Any, path: Path) -> tuple[list[Column], list[str], npt.NDArray[np.float64]]:
    """pandas' table layout: one record a row, the names of a block's columns pickled in an attribute."""
    table = group["table"]
    blocks = [name for name in table.dtype.names if name.startswith("values_block_")]
    records = table[()]
    if set(table.dtype.names) != {"index", *blocks} or records["index"].dtype.kind != "S":
        raise DataError(f"{path}: expected a table of an index and values, got fields {table.dtype.names}.")
    columns: list[Column] = []
    for block in blocks:
        if records[block].dtype.kind not in "iuf":
            raise DataError(f"{path}: {block} holds Python objects, which cannot be read safely.")
        columns += [
            _column(item, path) for item in load_restricted_pickle(bytes(table.attrs[f"{block}_kind"]), str(path))
        ]
    values = np.concatenate([records[block].reshape(len(records), -1).astype(np.float64) for block in blocks], axis=1)
    if values.shape[1] != len(columns):
        raise DataError(f"{path}: expected {values.shape[1]} names of columns, got {len(columns)}.")
    return columns, [_place([bytes(text).decode("utf-8")]) for text in records["index"]], values


def _column(names: Sequence[str], path: Path) -> Column:
    """(individual, bodypart, coordinate) from the column levels scorer, (individuals,) bodyparts, coords."""
    if len(names) not in (3, 4):
        raise DataError(f"{path}: expected columns of scorer, (individuals,) bodyparts and coords, got {names}.")
    individual = str(names[1]) if len(names) == 4 else ""
    return individual, str(names[-2]), str(names[-1])
