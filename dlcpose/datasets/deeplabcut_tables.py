"""Reader of DeepLabCut's tables of labels and of predictions, csv or h5, without running code.

The h5 files are pandas frames written with PyTables. Both are unsafe for files of others: PyTables unpickles attributes
that look like a pickle while it opens a file, and pickles can run code. h5py returns the raw bytes. pandas' fixed layout
then needs no pickle, its table layout only one of column names, which goes through `load_restricted_pickle`. Anything else
(columns of Python objects) is refused, and the csv that DeepLabCut writes beside the h5 is read instead.
"""

import csv
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from dlcpose.datasets.plain_hdf5 import PlainHdf5
from dlcpose.datasets.restricted_pickle import load_restricted_pickle
from dlcpose.structures.checked_arrays import MAX_COORDINATE, check_places
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import InsideFolder, check_file, shown
from dlcpose.structures.errors import DataError

logger = logging.getLogger(__name__)

Column = tuple[str, str, str]
FullColumn = tuple[str, str, str, str]  # with its scorer first
_Content = tuple[list[FullColumn], list[str], npt.NDArray[np.float64]]  # columns, rows, values
LIKELIHOOD = "likelihood"
MAX_BYTES = 2**28  # of a table of labels, and of each array in it
MAX_PREDICTIONS = 2**33  # the same of predictions, which have a row for each frame of a video
SAME_PX = 1e-3  # a csv may have been rounded


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


@dataclass(frozen=True)
class PredictionTable:
    """The content of a table of predictions, as the file has it.

    key: its name in an h5, "" in a csv. scorer: the name of what predicted. columns: C of (individual, bodypart,
    coordinate), individual "" where the file has no individuals. rows: R names of rows, which are frame numbers.
    values: (R, C), NaN where a cell is empty.
    """

    path: Path
    key: str
    scorer: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Table:
    """Any table: with all scorers, and with likelihoods."""

    key: str
    scorers: set[str]
    columns: list[Column]
    rows: list[str]
    values: npt.NDArray[np.float64]


def read_table(folder: Path, name: str, links: InsideFolder | None = None) -> LabelTable:
    """The labels in `folder/name`.h5 or .csv: the h5, as DeepLabCut itself reads it, where that is safe.

    Where both are there and say different things, a warning says so. links: the check that files lie in the project.
    Raises DataError when there is no h5 that is safe to read and no csv.
    """
    h5_path, csv_path = folder / f"{name}.h5", folder / f"{name}.csv"  # a scorer's name may contain a dot
    for path in (h5_path, csv_path):
        if links is not None:  # the folder itself may be a link, too
            links.check(path)
    if not h5_path.exists():
        return read_csv(csv_path)
    try:
        table = read_h5(h5_path)
    except DataError as error:
        if not csv_path.is_file():
            raise DataError(
                f"{error} Export the labels as {csv_path.name} beside it: save them again in DeepLabCut, or, if you "
                f"trust the file, run pandas.read_hdf({h5_path.name!r}).to_csv({csv_path.name!r}) in Python."
            ) from error
        logger.warning("%s %s is read instead.", error, csv_path.name)
        return read_csv(csv_path)
    if csv_path.is_file() and (difference := _difference(table, csv_path)):
        logger.warning(
            "%s: the csv beside it says something else: %s. The h5 is read, as DeepLabCut does. Where the csv is right, "
            "convert it (deeplabcut.convertcsv2h5) or move the h5 away.",
            h5_path,
            difference,
        )
    return table


def _difference(table: LabelTable, csv_path: Path) -> str | None:
    """How the csv beside a table differs from it, None where it does not."""
    try:
        other = read_csv(csv_path)
    except DataError as error:
        return f"it cannot be read ({error})"
    ours, theirs = ({_file_name(row): place for place, row in enumerate(each.rows)} for each in (table, other))
    if only := sorted(ours.keys() ^ theirs.keys()):
        return f"it has {counted(len(theirs), 'row')}, the h5 {len(ours)}; only one of them has {only[0]}"
    if set(table.columns) != set(other.columns):
        return f"only one of them has {' '.join(min(set(table.columns) ^ set(other.columns))).strip()}"
    rows = [theirs[name] for name in ours]
    columns = [dict(zip(other.columns, range(len(other.columns)), strict=True))[column] for column in table.columns]
    values = table.values[list(ours.values())]
    is_same = np.isclose(values, other.values[np.ix_(rows, columns)], rtol=0, atol=SAME_PX, equal_nan=True)
    if is_same.all():
        return None
    row, column = np.argwhere(~is_same)[0]
    differing = counted(int((~is_same).sum()), "value differs", "values differ")
    return f"{differing}, such as {' '.join(table.columns[column]).strip()} of {list(ours)[row]}"


def _file_name(row: str) -> str:
    return row.rsplit("/", 1)[-1]


def read_csv(path: Path) -> LabelTable:
    """A csv with header rows scorer, (individuals,) bodyparts, coords and one or three index columns.

    Raises DataError, naming row and column, for another header, a row that is too long, or a cell that is no number or
    no place in an image.
    """
    table = _read_csv(path, MAX_BYTES)
    _check_once(path, [column for column in table.columns if column[2] != LIKELIHOOD])
    return _labels(path, table)


def read_predictions(path: Path) -> PredictionTable:
    """A table of predictions, an h5 or a csv with rows as of `read_csv`, by its content.

    Raises DataError for anything else, as `read_csv` and `read_h5` do, for columns of several scorers, and for rows that are
    cut off.
    """
    check_file(path, max_bytes=MAX_PREDICTIONS)
    is_h5 = h5py.is_hdf5(path)
    table = _read_h5(path, MAX_PREDICTIONS) if is_h5 else _read_csv(path, MAX_PREDICTIONS, has_whole_rows=True)
    scorers = sorted(table.scorers)
    if len(scorers) > 1:
        raise DataError(f"{path}: expected predictions of one scorer, got those of {shown(scorers)}. Keep one of them.")
    _check_once(path, table.columns)
    is_place = [coordinate != LIKELIHOOD for _, _, coordinate in table.columns]
    _check_far(path, table, np.flatnonzero(is_place))
    scorer = scorers[0] if scorers else ""
    return PredictionTable(path, table.key, scorer, tuple(table.columns), tuple(table.rows), table.values)


def _read_csv(path: Path, max_bytes: int, *, has_whole_rows: bool = False) -> _Table:
    """A csv; has_whole_rows: whether a row that ends early is refused, which labels that were typed in have."""
    check_file(path, max_bytes=max_bytes)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            # Row by row: as text, cells take twenty times their memory.
            return _read_csv_lines(path, (line for line in csv.reader(file) if any(line)), has_whole_rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: the table cannot be read ({error}).") from error


def _read_csv_lines(path: Path, lines: Iterator[list[str]], has_whole_rows: bool) -> _Table:
    first = list(islice(lines, 4))
    heads = {line[0]: line for line in first if line[0] in ("scorer", "individuals", "bodyparts", "coords")}
    if "bodyparts" not in heads or "coords" not in heads:
        raise DataError(
            f"{path}: expected header rows scorer, bodyparts and coords separated by commas, "
            f"got {[line[0][:40] for line in first]}. Save the labels again in DeepLabCut."
        )
    index_columns = next((place for place, cell in enumerate(heads["coords"]) if place and cell), 1)
    width = len(heads["coords"])
    names = [heads.get("individuals", [""] * width), heads["bodyparts"], heads["coords"]]
    if len({len(head) for head in names}) > 1:
        raise DataError(f"{path}: expected header rows of one length, got {[len(head) for head in names]}.")
    columns = list(zip(*(head[index_columns:] for head in names), strict=True))
    rows: list[str] = []
    values: list[npt.NDArray[np.float64]] = []
    for number, line in enumerate(chain(first[len(heads) :], lines)):
        place, cells = _place(line[:index_columns]), line[index_columns:]
        if number == 0 and not any(cells) and "." not in place and not place.isdigit():
            continue  # pandas writes the names of an index as a row of their own
        if any(cells[len(columns) :]):
            raise DataError(f"{path}: {place} has more than the {len(columns)} columns named.")
        if has_whole_rows and len(cells) < len(columns):
            raise DataError(
                f"{path}: expected {counted(len(columns), 'value')} in row {place}, got {len(cells)}: it is cut "
                "off. Write it anew."
            )
        read = [_number(cell, path, place, column) for cell, column in zip(cells, columns, strict=False)]
        rows.append(place)
        values.append(np.array([*read, *[np.nan] * (len(columns) - len(read))]))
    scorers = {name for name in heads.get("scorer", [])[index_columns:] if name}  # some programs name it once
    return _Table("", scorers, columns, rows, np.array(values).reshape(len(rows), len(columns)))


def read_h5(path: Path) -> LabelTable:
    """A pandas frame in an h5 file, fixed or table layout, read without unpickling anything but plain names.

    Raises DataError when the file is no such frame, holds Python objects, several frames or links to elsewhere, or says
    that it holds more than MAX_BYTES.
    """
    table = _read_h5(path, MAX_BYTES)
    _check_once(path, [column for column in table.columns if column[2] != LIKELIHOOD])
    return _labels(path, table)


def _read_h5(path: Path, max_bytes: int) -> _Table:
    check_file(path, max_bytes=max_bytes)
    try:
        with h5py.File(path, "r") as file:
            key = _only_key(file, path)
            group = _child(file, key, path, max_bytes)
            if not isinstance(group, h5py.Group):  # `in` would go through an array, which may say that it has 2^40 rows
                raise DataError(f"{path}: expected a table written by pandas, got an array.")
            read = _read_table_layout if "table" in group else _read_fixed_layout
            names, rows, values = read(group, path, max_bytes)
    except DataError:
        raise
    except Exception as error:  # a damaged file can make the library raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: expected a table written by pandas, got {reason}.") from error
    return _Table(key, {scorer for scorer, *_ in names}, [name[1:] for name in names], rows, values)


def _only_key(file: Any, path: Path) -> str:
    keys = sorted(file)
    if not keys:
        raise DataError(f"{path}: expected a table written by pandas, got an empty file.")
    if len(keys) > 1:
        raise DataError(
            f"{path}: expected one table, got {', '.join(keys)[:200]}. Keep one of them: which one is right is unknown."
        )
    return str(keys[0])


def _child(group: Any, name: str, path: Path, max_bytes: int) -> Any:
    """What a group holds under a name, where that lies in this very file and is of bounded size.

    A link may lead to any other file of the disk, and a few bytes may say that they stand for gigabytes.
    """
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"{path}: expected {name[:80]!r} in the file itself, got {type(link).__name__}.")
    child = group[name]
    if isinstance(child, h5py.Dataset) and not child.dtype.hasobject:  # objects are refused where they are found
        return PlainHdf5(group.file, path).dataset(f"{group.name}/{name}", max_bytes)
    return child


def _number(cell: str, path: Path, place: str, column: Column) -> float:
    if not cell.strip():
        return np.nan
    try:
        if "_" in cell:  # Python alone takes "1_0" for 10
            raise ValueError(cell)
        return float(cell)
    except ValueError:
        named = " ".join(part for part in column if part)
        raise DataError(
            f"{path}: expected a number for {named} in {place}, got {cell[:80]!r}. Correct the cell or empty it."
        ) from None


def _place(parts: Sequence[str]) -> str:
    return "/".join(parts).replace("\\", "/")


def _check_once(path: Path, columns: Sequence[Column]) -> None:
    if repeated := sorted(column for column, count in Counter(columns).items() if count > 1):
        raise DataError(
            f"{path}: expected each column once, got {' '.join(repeated[0]).strip()} more than once. "
            "Keep those of one scorer."
        )


def _labels(path: Path, table: _Table) -> LabelTable:
    """The labels alone: tables of predictions have likelihoods, too."""
    kept = np.array([place for place, (_, _, name) in enumerate(table.columns) if name != LIKELIHOOD], np.int64)
    _check_far(path, table, kept)
    return LabelTable(path, tuple(table.columns[place] for place in kept), tuple(table.rows), table.values[:, kept])


def _check_far(path: Path, table: _Table, places: npt.NDArray[np.int64]) -> None:
    """Raises DataError, with row and column, for coordinates in these columns that no image has."""
    with np.errstate(invalid="ignore"):
        is_far = np.abs(table.values[:, places]) > MAX_COORDINATE  # infinite ones too
    if is_far.any():
        row, column = np.argwhere(is_far)[0]
        named = " ".join(part for part in table.columns[places[column]] if part)
        check_places(table.values[row, places[column], None], f"{path}: {named} in {table.rows[row]}")


def _read_fixed_layout(group: Any, path: Path, max_bytes: int) -> _Content:
    """pandas' fixed layout: an axis is levels and codes, the values lie in blocks of one type each."""
    rows = [_place(names) for names in _axis(group, "axis1", path, max_bytes)]
    columns: list[FullColumn] = []
    blocks: list[npt.NDArray[np.float64]] = []
    while (name := f"block{len(blocks)}_values") in group:
        items = _axis(group, f"block{len(blocks)}_items", path, max_bytes)
        dataset = _child(group, name, path, max_bytes)
        if dataset.dtype.kind not in "iuf":
            raise DataError(f"{path}: {name} holds Python objects, which cannot be read safely.")
        values = np.asarray(dataset[()], np.float64)
        columns += [_column(item, path) for item in items]
        blocks.append(values.T if not dataset.attrs.get("transposed", 1) else values)
        if blocks[-1].shape != (len(rows), len(items)):
            raise DataError(f"{path}: expected {name} of shape {(len(rows), len(items))}, got {blocks[-1].shape}.")
    if not blocks:
        raise DataError(f"{path}: expected a table written by pandas, got {sorted(group)}.")
    return columns, rows, np.concatenate(blocks, axis=1)


def _axis(group: Any, name: str, path: Path, max_bytes: int) -> list[tuple[str, ...]]:
    """The names along an axis, one tuple each: stored as they are, or as codes into the names of several levels."""
    if name in group:
        return [(label,) for label in _texts(_child(group, name, path, max_bytes), path)]
    levels: list[list[str]] = []
    while f"{name}_level{len(levels)}" in group:
        labels = [
            *_texts(_child(group, f"{name}_level{len(levels)}", path, max_bytes), path),
            "",
        ]  # code -1: nothing at this level
        codes = np.asarray(_child(group, f"{name}_label{len(levels)}", path, max_bytes)[()], np.int64)
        if ((codes < -1) | (codes >= len(labels) - 1)).any():
            raise DataError(f"{path}: {name} names more labels than the file has. Save it again in DeepLabCut.")
        levels.append([labels[code] for code in codes])
    if not levels:
        raise DataError(f"{path}: expected the axis {name}, got {sorted(group)}.")
    return list(zip(*levels, strict=True))


def _texts(dataset: Any, path: Path) -> list[str]:
    if dataset.dtype.kind == "S":
        return [bytes(text).decode("utf-8") for text in dataset[()]]
    if dataset.dtype.kind in "iu":
        return [str(number) for number in dataset[()]]
    raise DataError(f"{path}: {dataset.name} holds Python objects, which cannot be read safely.")


def _read_table_layout(group: Any, path: Path, max_bytes: int) -> _Content:
    """pandas' table layout: one record a row, the names of a block's columns pickled in an attribute."""
    table = _child(group, "table", path, max_bytes)
    blocks = [name for name in table.dtype.names if name.startswith("values_block_")]
    records = table[()]
    if set(table.dtype.names) != {"index", *blocks} or records["index"].dtype.kind not in "Siuf":
        raise DataError(f"{path}: expected a table of an index and values, got fields {table.dtype.names}.")
    columns: list[FullColumn] = []
    for block in blocks:
        if records[block].dtype.kind not in "iuf":
            raise DataError(f"{path}: {block} holds Python objects, which cannot be read safely.")
        columns += [
            _column(item, path) for item in load_restricted_pickle(bytes(table.attrs[f"{block}_kind"]), str(path))
        ]
    values = np.concatenate([records[block].reshape(len(records), -1).astype(np.float64) for block in blocks], axis=1)
    if values.shape[1] != len(columns):
        raise DataError(f"{path}: expected {values.shape[1]} names of columns, got {len(columns)}.")
    rows = [bytes(each).decode("utf-8") if isinstance(each, bytes) else str(each) for each in records["index"].tolist()]
    return columns, [_place([row]) for row in rows], values


def _column(names: Sequence[str], path: Path) -> FullColumn:
    """(scorer, individual, bodypart, coordinate) from the column levels scorer, (individuals,) bodyparts, coords."""
    if len(names) not in (3, 4):
        raise DataError(f"{path}: expected columns of scorer, (individuals,) bodyparts and coords, got {names}.")
    individual = str(names[1]) if len(names) == 4 else ""
    return str(names[0]), individual, str(names[-2]), str(names[-1])
