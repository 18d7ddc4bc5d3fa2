"""The tidy tables of `dlcpose tables`, csv and parquet: a row for each keypoint of each animal in each frame."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dlcpose.exporters.parquet_table import METADATA
from dlcpose.exporters.tidy import COLUMNS
from dlcpose.importers.pose_formats import MAX_BYTES, ForeignPoses, check_size, pose_format
from dlcpose.structures.checked_values import Fields
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import check_file, parse_json, reading, shown
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.skeleton import Skeleton, pairs_from_names

NAMES, NUMBERS = ("individual", "keypoint"), ("x", "y", "score")
READ = tuple(name for name in COLUMNS if name != "time")  # the times are the video's
MAX_CSV = 2**33
MAX_FRAMES = 2**31
MAX_SIDE = 2**20  # px of a frame
ROW_BYTES = 256  # in memory, as measured while a table is imported
MAX_ROWS, SHORT_ROW = 2**22, 4  # rows of a small file, 1 GB in memory; of a larger one each takes some bytes in it
MAX_ROW, MIN_UNPACKED = 1024, 2**24  # bytes of a row in its file, and of a small file with its dictionaries
NO_NUMBER = ("", "NA", "NaN", "nan")  # as R and pandas write a missing number
PARQUET = b"PAR1"


@dataclass(frozen=True)
class _Rows:
    """The columns of a table, R rows. A unique keypoint's individual is the empty text."""

    frames: npt.NDArray[np.int64]
    individuals: pd.Categorical
    keypoints: pd.Categorical
    values: npt.NDArray[np.float64]  # (R, 3): x, y, score


def _is_csv(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.readline(256).removeprefix(b"\xef\xbb\xbf").strip()
    return {*READ} <= {name.strip(b'"').decode("ascii", "replace") for name in head.split(b",")}


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


@pose_format("csv", opens="a long table (.csv) with the columns of `dlcpose tables`", can_read=_is_csv)
def read_csv(path: Path, is_tracked: bool | None) -> list[ForeignPoses]:
    """The poses in a csv, which has the name of its video. It does not tell whether several animals are tracked."""
    check_file(path, max_bytes=MAX_CSV)
    with path.open("rb") as file:
        file.seek(-1, 2)
        if file.read(1) not in b"\r\n":
            raise DataError(
                f"{path}: expected a whole last line, got one without an end: it is cut off. Write it anew."
            )
    types: dict[Any, Any] = {
        "frame": np.int64,
        **dict.fromkeys(NAMES, "category"),
        **dict.fromkeys(NUMBERS, np.float64),
    }
    with reading(path):
        table = pd.read_csv(
            path,
            usecols=list(READ),
            dtype=types,
            keep_default_na=False,  # an animal may be called NA
            na_values={name: list(NO_NUMBER) for name in NUMBERS},
            float_precision="round_trip",
            encoding="utf-8-sig",
        )
    names = [pd.Categorical(table[name]) for name in NAMES]
    rows = _Rows(table["frame"].to_numpy(), names[0], names[1], table[list(NUMBERS)].to_numpy())
    return [_poses(path, rows, {}, is_tracked)]


@pose_format("parquet", opens="the same as .parquet", can_read=_is_parquet)
def read_parquet(path: Path, is_tracked: bool | None) -> list[ForeignPoses]:
    """The poses in a parquet file, with the video, the skeleton and whether they are tracked where it tells them."""
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigError(f"{path}: reading it needs pyarrow, not installed here. Install dlcpose[tables].")
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(path):
        # Each text is kept once, as the file keeps it: a thousand letters in a million rows are a file of 7 kB.
        with pq.ParquetFile(path, read_dictionary=list(NAMES)) as file:
            _check_columns(path, file.schema_arrow)
            _check_unpacked(path, file.metadata)
            table = file.read(columns=list(READ))
            about = (file.schema_arrow.metadata or {}).get(METADATA)
        names = [_categories(table[name]) for name in NAMES]
        if table["frame"].null_count:
            raise DataError(f"{path}: expected a frame in every row, got {table['frame'].null_count} without one.")
        frames = table["frame"].cast(pa.int64()).to_numpy()
        values = np.stack([table[name].cast(pa.float64()).to_numpy() for name in NUMBERS], axis=-1)
    described = {} if about is None else parse_json(about, path)
    return [_poses(path, _Rows(frames, names[0], names[1], values), described, is_tracked)]


def _check_columns(path: Path, schema: Any) -> None:
    """Raises DataError unless a parquet file has the columns, of numbers and texts."""
    import pyarrow.types as kinds

    def is_text(kind: Any) -> bool:
        return (
            is_text(kind.value_type)
            if kinds.is_dictionary(kind)
            else kinds.is_string(kind) or kinds.is_large_string(kind)
        )

    def is_number(kind: Any) -> bool:
        return bool(kinds.is_floating(kind) or kinds.is_integer(kind))

    numbers, texts = (is_number, "numbers"), (is_text, "texts")
    expected = {"frame": (kinds.is_integer, "whole numbers"), **dict.fromkeys(NAMES, texts)}
    for name, (is_right, kind) in {**expected, **dict.fromkeys(NUMBERS, numbers)}.items():
        found = [str(field.type) for field in schema if field.name == name]
        if len(found) != 1 or not is_right(schema.field(name).type):
            raise DataError(
                f"{path}: expected a column {name!r} of {kind}, as `dlcpose tables` writes it, got {shown(found)}."
            )


def _check_unpacked(path: Path, metadata: Any) -> None:
    """Raises DataError, before memory is taken, for more than is imported: repeated values take no room in a file."""
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
    length = path.stat().st_size
    most = min(max(MAX_ROWS, length // SHORT_ROW), MAX_BYTES // ROW_BYTES)
    if rows > most:
        raise DataError(
            f"{path}: expected at most {most} rows in a file of {length} bytes, got {rows}: they would take "
            f"{rows * ROW_BYTES / 2**30:.1f} GB of memory. Import the csv of the same table, or one of fewer frames."
        )
    columns = [group.column(place) for group in groups for place in range(group.num_columns)]
    size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema in READ)
    if size > max(rows * MAX_ROW, MIN_UNPACKED):
        raise DataError(f"{path}: expected at most {MAX_ROW} bytes a row, unpacked, got {size} bytes in {rows} rows.")


def _categories(column: Any) -> pd.Categorical:
    """A column of texts, each kept once, whose dictionaries may repeat a text or have none; "" where there is none."""
    texts: list[str] = []
    codes = []
    for chunk in column.chunks:
        codes.append(chunk.indices.fill_null(len(chunk.dictionary)).to_numpy() + len(texts))
        texts += [*(text or "" for text in chunk.dictionary.to_pylist()), ""]
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    category = np.array([places[text] for text in texts], np.int64)
    codes_of_rows: npt.NDArray[np.int64] = category[np.concatenate([*codes, np.zeros(0, np.int64)])]
    return pd.Categorical.from_codes(codes_of_rows, pd.Index(list(places), dtype=object))


def _poses(path: Path, rows: _Rows, described: object, is_tracked: bool | None) -> ForeignPoses:
    """The poses of a table. described: what a parquet file's metadata tells; nothing in a csv."""
    about = Fields(described, f"{path}: its metadata")
    if not len(rows.frames):
        raise DataError(f"{path}: expected rows of poses, got none.")
    if rows.frames.min() < 0 or rows.frames.max() >= MAX_FRAMES:
        raise DataError(f"{path}: expected numbers of frames from 0, got {rows.frames.min()} to {rows.frames.max()}.")
    frames, row_of = np.unique(rows.frames, return_inverse=True)
    owners, place_of = _owners(path, rows)
    individuals = tuple(dict.fromkeys(individual for individual, _ in owners if individual))
    keypoints = tuple(dict.fromkeys(keypoint for individual, keypoint in owners if individual))
    unique = tuple(keypoint for individual, keypoint in owners if not individual)
    animals = len(individuals) * len(keypoints)
    check_size(path, len(frames), animals, 1)
    unlike = len(np.unique(row_of * len(owners) + place_of))
    whole = len(frames) * (animals + len(unique))
    if not len(rows.frames) == unlike == whole:
        raise DataError(
            f"{path}: expected one row for each keypoint of each animal in each frame, {whole} rows, got {len(row_of)}, "
            f"{unlike} of them unlike. Write the table anew; to leave a keypoint out, empty its x and y."
        )
    order = [(individual, keypoint) for individual in individuals for keypoint in keypoints]
    order += [("", keypoint) for keypoint in unique]
    rank = {owner: place for place, owner in enumerate(order)}
    values = np.empty((len(frames), len(order), len(NUMBERS)))
    values[row_of, np.array([rank[owner] for owner in owners])[place_of]] = rows.values
    shape = (len(frames), len(individuals), len(keypoints))
    skeleton = _skeleton(path, about, keypoints, unique)
    tracked = about.flag("is_tracked", default=len(individuals) == 1) if is_tracked is None else is_tracked
    is_told = is_tracked is not None or about.has("is_tracked") or tracked
    return ForeignPoses(
        program="dlcpose",
        scorer=about.text("scorer", default=""),
        video=about.text("video_path", default=path.stem),
        skeleton=skeleton,
        individuals=individuals,
        is_tracked=tracked,
        frames=frames.astype(np.int64),
        points=values[:, :animals, :2].reshape(*shape, 2),
        scores=values[:, :animals, 2].reshape(shape),
        unique=values[:, animals:, :2],
        unique_scores=values[:, animals:, 2],
        size=_size(about),
        notes=() if is_told else ("the table does not tell whether the animals are tracked: with --tracked they are",),
    )


def _owners(path: Path, rows: _Rows) -> tuple[list[tuple[str, str]], npt.NDArray[np.intp]]:
    """The (individual, keypoint) that rows are of, in the order in which they first appear, and the place of each row's."""
    individuals, keypoints = rows.individuals.categories, rows.keypoints.categories
    is_named = (keypoints != "")[rows.keypoints.codes] & (rows.keypoints.codes >= 0) & (rows.individuals.codes >= 0)
    if not is_named.all():
        raise DataError(
            f"{path}: expected a keypoint in every row, got {counted(int((~is_named).sum()), 'row')} without. "
            "Is the table cut off?"
        )
    count = len(rows.keypoints.categories)
    codes, found = pd.factorize(rows.individuals.codes.astype(np.int64) * count + rows.keypoints.codes)
    return [(str(individuals[code // count]), str(keypoints[code % count])) for code in found.tolist()], codes


def _skeleton(path: Path, about: Fields, keypoints: tuple[str, ...], unique: tuple[str, ...]) -> Skeleton:
    """The skeleton that a file describes, else one without edges. Raises DataError where it has other keypoints."""
    if not keypoints:
        raise DataError(f"{path}: expected the keypoints of at least one animal, got {shown(list(unique))} of none.")
    with reading(path):
        if not about.has("skeleton"):
            return Skeleton(
                keypoints, pairs=pairs_from_names(keypoints), unique=unique, unique_pairs=pairs_from_names(unique)
            )
        skeleton = Skeleton.from_dict(about.mapping("skeleton").content)
    if (skeleton.names, skeleton.unique) != (keypoints, unique):
        raise DataError(
            f"{path}: its metadata names the keypoints {shown([*skeleton.names, *skeleton.unique])}, its rows those of "
            f"{shown([*keypoints, *unique])}. Write the file anew."
        )
    return skeleton


def _size(about: Fields) -> tuple[int, int] | None:
    if not (about.has("video_height") and about.has("video_width")):
        return None
    height, width = (about.whole(f"video_{side}", minimum=1, maximum=MAX_SIDE) for side in ("height", "width"))
    return height, width
