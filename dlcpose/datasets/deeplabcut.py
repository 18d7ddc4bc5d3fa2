"""Reader of DeepLabCut projects: labels from labeled-data, names from config.yaml; nothing is written."""

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dlcpose.datasets.base import (
    LabeledFrames,
    frame_number,
    image_file_size,
    read_image_file,
    warn_of_orientations,
)
from dlcpose.datasets.deeplabcut_config import UNIQUE_INDIVIDUAL, ProjectConfig, project_folder, read_project_config
from dlcpose.datasets.deeplabcut_tables import LabelTable, read_table
from dlcpose.datasets.label_checks import warn_of_labels
from dlcpose.datasets.readers import reader
from dlcpose.datasets.restricted_pickle import MAX_BYTES, load_restricted_pickle
from dlcpose.structures.checked_values import is_whole_number
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import InsideFolder, is_file, read_file
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.home_folder import expand_home
from dlcpose.structures.sample import Doubles, FrameLabels, Image, labels_of

logger = logging.getLogger(__name__)

LABELS = "CollectedData_"


@reader("deeplabcut")
class DeepLabCutFrames(LabeledFrames):
    """The labeled frames of a single-animal or multi-animal project.

    root: the folder with config.yaml, or that file; its project_path is ignored. scorer: whose labels to read; by default
    those of the config's scorer, else the only ones there are. An animal without a label in a frame is not in it; frames
    without any label are kept as unlabeled (`empty_is_label`). follow_links: also read files that links take from outside
    of root.
    shuffle: the number of the shuffle whose train and test frames are the stored split, by default the lowest. fraction: the
    TrainingFraction of that shuffle, by default the first of config.yaml.
    docs/data.md says how each value is checked. Raises DataError, with the file and what to do, where a project cannot be
    read.
    """

    empty_is_label = False
    opens = "a folder with config.yaml (DeepLabCut)"

    @classmethod
    def can_open(cls, path: Path) -> bool:
        """Whether a path is a project's folder or its config.yaml."""
        return path.name == "config.yaml" or (path / "config.yaml").is_file()

    @classmethod
    def open(cls, path: Path, *, follow_links: bool = False) -> "DeepLabCutFrames":
        """The labels of the project's own scorer."""
        return cls(path, follow_links=follow_links)

    def __init__(
        self,
        root: str | int | Path,
        *,
        scorer: str | int | None = None,
        follow_links: bool = False,
        shuffle: int | None = None,
        fraction: float | None = None,
    ) -> None:
        if shuffle is not None and not is_whole_number(shuffle, 0):
            raise ConfigError(f"shuffle: expected the number of one of the project's shuffles, got {shuffle!r:.80}.")
        if fraction is not None and not (isinstance(fraction, int | float) and 0 < fraction <= 1):
            raise ConfigError(
                f"fraction: expected one of the project's TrainingFraction, above 0 and up to 1, got {fraction!r:.80}."
            )
        self.root = project_folder(expand_home(str(root)))
        self._links = None if follow_links else InsideFolder(self.root)
        if self._links is not None:
            self._links.check(self.root / "config.yaml")
        scorer = None if scorer is None else str(scorer)
        self.config = read_project_config(self.root)
        self.skeleton = self.config.skeleton
        self.individuals = self.config.individuals
        self.has_identities, self.pcutoff = self.config.has_identities, self.config.pcutoff
        self._scorer, self._shuffle, self._fraction = scorer, shuffle, fraction
        given = {"shuffle": shuffle, "fraction": fraction}
        self.split_settings = tuple(f"{name}={value}" for name, value in given.items() if value is not None)
        self.frames = _read_frames(self.config, _find_tables(self.config, scorer, self._links), self._links)
        warn_of_labels(self.root, self.frames)
        if self.split_settings:
            _ = self._split_file  # one that is not there is refused also where another split is taken

    def read_image(self, index: int) -> Image:
        """The image of frame `index`: (H, W, 3) uint8 RGB."""
        return read_image_file(self.image_file(index))

    def image_file(self, index: int) -> Path:
        return self.root / self.frames[index].key

    @cached_property
    def stored_split(self) -> Mapping[str, tuple[str, ...]] | None:  # type: ignore[override]  # read on demand
        """The train and test frames of the shuffle, None where the project has none.

        Raises DataError when the split's files are missing, or hold more than plain values.
        """
        if self._split_file is None:
            return None
        keys = {frame.key for frame in self.frames}
        return _read_stored_split(self._split_file, self.config, self._scorer, keys, self._links)

    @cached_property
    def _split_file(self) -> Path | None:
        return _find_shuffle(self.config, self._shuffle, self._fraction)


def _find_tables(config: ProjectConfig, scorer: str | None, links: InsideFolder | None) -> list[LabelTable]:
    """One table for each folder of labeled-data that has labels."""
    labeled = config.folder / "labeled-data"
    if not labeled.is_dir():
        raise DataError(f"{config.folder}: expected a folder labeled-data, got none. Label frames in DeepLabCut first.")
    tables = []
    # DeepLabCut's check_labels draws into folders of this name.
    folders = [path for path in sorted(labeled.iterdir()) if path.is_dir() and not path.name.endswith("_labeled")]
    for folder in folders:
        name = _choose_labels(folder, scorer or config.scorer, is_required=scorer is not None)
        if name is None:
            logger.warning("%s has no labels%s: skipped.", folder, f" of scorer {scorer!r}" if scorer else "")
        else:
            tables.append(read_table(folder, name, links))
    if not tables:
        others = sorted({name.removeprefix(LABELS) for folder in folders for name in _label_names(folder)})
        raise DataError(
            f"{labeled}: expected {LABELS}{scorer or config.scorer}.csv or .h5 in one of {counted(len(folders), 'folder')}, "
            + (f"got those of {', '.join(others)}. Name one of them." if others else "got none. Label frames first.")
        )
    return tables


def _label_names(folder: Path) -> list[str]:
    """The names, without ending, of the label files of all scorers in a folder."""
    return sorted({path.stem for path in folder.glob(f"{LABELS}*") if path.suffix in (".csv", ".h5")})


def _choose_labels(folder: Path, scorer: str, *, is_required: bool) -> str | None:
    """The name, without ending, of the label file to read in a folder; None where there is none."""
    found = _label_names(folder)
    if f"{LABELS}{scorer}" in found:
        return f"{LABELS}{scorer}"
    if is_required or not found:
        return None
    if len(found) > 1:
        raise DataError(
            f"{folder}: expected labels of scorer {scorer!r}, got {found}. "
            "Name one under `scorer:` in config.yaml, or as the data set's scorer."
        )
    logger.warning("%s: %s is read, although the project's scorer is %r.", folder, found[0], scorer)
    return found[0]


def _read_frames(config: ProjectConfig, tables: Sequence[LabelTable], links: InsideFolder | None) -> list[FrameLabels]:
    frames, places = [], []
    missing: list[Path] = []
    somewhere = frozenset(column for table in tables for column in table.columns)
    for table in tables:
        video = table.path.parent.name
        animals, unique = _points(table, config, somewhere)
        for row in _rows_by_image(table, video):
            name = _image_name(table.rows[row])
            path = table.path.parent / name
            if links is not None:
                links.check(path)
            if not is_file(path):
                missing.append(path)
                continue
            present = ~np.isnan(animals[row]).all(axis=(1, 2))  # (I,)
            places.append(path)
            frames.append(
                labels_of(
                    f"labeled-data/{video}/{name}",
                    image_file_size(path),
                    animals[row][present],
                    identities=np.flatnonzero(present).astype(np.int64),
                    unique_in_image=unique[row],
                    video=video,
                    frame_index=frame_number(name, row),
                )
            )
    if missing:
        raise DataError(
            f"{missing[0]}: the image is missing, as are {counted(len(missing) - 1, 'other')} with labels. "
            "Restore the images beside their labels, or remove the rows of those that are gone."
        )
    if not any(len(frame) or not np.isnan(frame.unique_in_image).all() for frame in frames):
        raise DataError(f"{config.folder}: expected labels, but all points of all {len(frames)} frames are missing.")
    warn_of_orientations(
        str(config.folder), zip(places, ((frame.height, frame.width) for frame in frames), strict=True)
    )
    return frames


def _points(
    table: LabelTable, config: ProjectConfig, somewhere: frozenset[tuple[str, str, str]]
) -> tuple[Doubles, Doubles]:
    """The labels of all rows, in the config's order: animals (R, I, K, 2) and unique keypoints (R, U, 2).

    somewhere: the columns of all tables. A keypoint with columns only in other tables was added later: it is missing
    here.
    """
    place = {column: index for index, column in enumerate(table.columns)}
    individuals = config.individuals if config.multi_animal else ("",)
    in_file = list(dict.fromkeys(individual for individual, _, _ in table.columns))
    _check_individuals(table, config, in_file)
    known = {(individual, name) for individual in individuals for name in config.skeleton.names}
    known |= {(UNIQUE_INDIVIDUAL, name) for name in config.skeleton.unique}
    if unused := sorted({name for individual, name, _ in place if (individual, name) not in known}):
        logger.warning("%s: %s are not in config.yaml and are left out.", table.path, unused)
    labeled_elsewhere = {name for _, name, _ in somewhere}
    added: list[str] = []

    def columns_of(individual: str, names: Sequence[str]) -> list[list[int]]:
        """Columns of x and y for each name; what the file lacks gets the column of NaN after the last."""
        if individual not in in_file and individual != UNIQUE_INDIVIDUAL:
            return [[len(place)] * 2 for _ in names]
        columns = []
        for name in names:
            is_here = any((individual, name, xy) in place for xy in "xy")
            if not is_here and name in labeled_elsewhere:
                added.append(f"{name} of {individual}" if individual else name)
                columns.append([len(place)] * 2)
            else:
                columns.append([_column(place, table, individual, name, xy) for xy in "xy"])
        return columns

    values = np.concatenate([table.values, np.full((len(table.rows), 1), np.nan)], axis=1)
    animals = values[:, [columns_of(individual, config.skeleton.names) for individual in individuals]]
    unique_columns = columns_of(UNIQUE_INDIVIDUAL, config.skeleton.unique)
    unique = values[:, np.array(unique_columns, np.int64).reshape(-1, 2)]
    if added:
        logger.warning(
            "%s: %s have no columns, which other labels of the project have: they count as missing in its %s.",
            table.path,
            ", ".join(added[:5]) + (f" and {len(added) - 5} more" if len(added) > 5 else ""),
            counted(len(table.rows), "frame"),
        )
    half = sum(int((np.isnan(points).sum(axis=-1) == 1).sum()) for points in (animals, unique))
    if half:
        logger.warning(
            "%s: %s only one of x and y, taken as missing.", table.path, counted(half, "keypoint has", "keypoints have")
        )
    return _whole_points(animals), _whole_points(unique)


def _whole_points(points: Doubles) -> Doubles:
    return np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, np.nan)


def _check_individuals(table: LabelTable, config: ProjectConfig, in_file: Sequence[str]) -> None:
    if config.multi_animal and in_file == [""]:
        raise DataError(
            f"{table.path}: config.yaml is of a multi-animal project, but the labels name no individuals. "
            "Convert the labels in DeepLabCut (convert2_maDLC)."
        )
    if not config.multi_animal and in_file != [""]:
        raise DataError(
            f"{table.path}: the labels name individuals {list(in_file)}, but config.yaml is of a single-animal project. "
            "Set `multianimalproject: true` with `individuals:` and `multianimalbodyparts:`."
        )
    if unknown := [name for name in in_file if name not in (*config.individuals, UNIQUE_INDIVIDUAL, "")]:
        raise DataError(
            f"{table.path}: expected individuals {list(config.individuals)}, got {unknown[0]!r}. "
            "Correct the names under `individuals:` in config.yaml."
        )


def _column(place: Mapping[tuple[str, str, str], int], table: LabelTable, individual: str, name: str, xy: str) -> int:
    if (column := place.get((individual, name, xy))) is not None:
        return column
    of = f" of {individual}" if individual else ""
    if (individual, name, "y" if xy == "x" else "x") in place:
        raise DataError(f"{table.path}: the column {xy} of {name}{of} is missing. Save the labels again in DeepLabCut.")
    names = sorted({found for owner, found, _ in place if owner == individual})
    raise DataError(
        f"{table.path}: the keypoint {name}{of} of config.yaml has no columns. Expected it among {names}. "
        "Correct the spelling in config.yaml, or label the keypoint."
    )


def _rows_by_image(table: LabelTable, video: str) -> list[int]:
    """Rows in the order of their images' names, exact duplicates left out."""
    if elsewhere := [row for row in table.rows if "/" in row and row.split("/")[-2] != video]:
        logger.warning(
            "%s: %s another folder, such as %s: images are looked for beside the labels.",
            table.path,
            counted(len(elsewhere), "row names", "rows name"),
            elsewhere[0],
        )
    first: dict[str, int] = {}
    for row, place in enumerate(table.rows):
        name = _image_name(place)
        if name not in first:
            first[name] = row
        elif np.array_equal(table.values[row], table.values[first[name]], equal_nan=True):
            logger.warning("%s: %s has two rows, with the same labels.", table.path, place)
        else:
            raise DataError(f"{table.path}: {place} has two rows, with different labels. Remove one of them.")
    return [first[name] for name in sorted(first)]


def _image_name(place: str) -> str:
    return place.rsplit("/", 1)[-1]


def _read_stored_split(
    path: Path, config: ProjectConfig, scorer: str | None, keys: set[str], links: InsideFolder | None
) -> dict[str, tuple[str, ...]]:
    """The split of a shuffle, by its Documentation_data file."""
    if links is not None:
        links.check(path)
    content = load_restricted_pickle(read_file(path, max_bytes=MAX_BYTES), str(path))
    name = _choose_labels(path.parent, scorer or config.scorer, is_required=False)
    if name is None:
        raise DataError(f"{path}: the split counts rows of {LABELS}{config.scorer}, which is not beside it.")
    merged = read_table(path.parent, name, links)
    stored = {}
    try:
        for part, rows in (("train", content[1]), ("test", content[2])):
            indices = [row for row in _whole_numbers(rows) if row != -1]  # -1 is padding
            if any(not 0 <= row < len(merged.rows) for row in indices):
                raise DataError(f"{path}: expected rows of {merged.path.name} below {len(merged.rows)}, got others.")
            stored[part] = tuple("labeled-data/" + "/".join(merged.rows[row].split("/")[-2:]) for row in indices)
    except DataError:
        raise
    except Exception as error:  # a pickle can hold anything in the place of these lists
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: expected a list of data, train rows and test rows, got {reason}.") from error
    _warn_of_changes(path, {key for part in stored.values() for key in part}, keys)
    return {part: tuple(key for key in of_part if key in keys) for part, of_part in stored.items()}


def _whole_numbers(rows: Any) -> list[int]:
    """An array or a flat list of whole numbers; a few bytes of lists in lists can stand for more than memory holds."""
    if not isinstance(rows, np.ndarray) and not (isinstance(rows, list | tuple) and all(map(np.isscalar, rows))):
        raise TypeError(f"{type(rows).__name__} in place of a list of numbers")
    numbers = np.asarray(rows).ravel()
    if len(numbers) and (numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all()):
        raise TypeError("other values than numbers")
    if (numbers != np.floor(numbers)).any():
        raise TypeError("numbers that are not whole")
    return [int(number) for number in numbers]


def _find_shuffle(config: ProjectConfig, shuffle: int | None, fraction: float | None) -> Path | None:
    """The Documentation_data file of a shuffle, by default the lowest; None where the project has none.

    Of shuffles of one number that of a fraction, by default the config's first. Warns where there are several to choose
    from. Raises DataError for a shuffle that is not there.
    """
    found = _shuffles(config)
    percent = None if fraction is None else _percent(fraction)
    chosen = [each for each in found if shuffle in (None, each[0]) and percent in (None, each[1])]
    if not chosen:
        if shuffle is None and fraction is None:
            return None
        named = "a shuffle" + (f" {shuffle}" if shuffle is not None else "")
        named += f" of the fraction {fraction:g}" if fraction is not None else ""
        there = sorted({(number, 0 if fraction is None else of_train) for number, of_train, _ in found})
        texts = [str(number) if fraction is None else f"{number} of {of_train / 100:g}" for number, of_train in there]
        raise DataError(
            f"{config.folder}: expected {named} in training-datasets, got {', '.join(texts) or 'none'}. Name one of them, or "
            "create it in DeepLabCut (create_training_dataset)."
        )
    first = None if config.train_fraction is None else _percent(config.train_fraction)
    path = min(chosen, key=lambda each: (each[0], each[1] != first, each[2]))[-1]
    if len(chosen) > 1:
        logger.warning(
            "%s: %d shuffles%s, of which the train and test frames of %s are taken. train.py dataset.shuffle=NUMBER takes "
            "those of another, dataset.fraction=0.8 those of another TrainingFraction (in Python shuffle=, fraction=).",
            path.parent,
            len(chosen),
            "" if shuffle is None else f" {shuffle}",
            path.stem.removeprefix("Documentation_data-"),
        )
    return path


def _shuffles(config: ProjectConfig) -> list[tuple[int, int, Path]]:
    """The shuffles of the config's iteration, else of the latest one: number, train frames in percent, and the
    Documentation_data file of each.
    """
    iterations = {
        int(path.name.removeprefix("iteration-")): path
        for path in config.folder.glob("training-datasets/iteration-*")
        if path.name.removeprefix("iteration-").isdecimal()  # "²" is a digit, but int() takes none
    }
    if not iterations:
        return []
    folder = iterations.get(config.iteration, iterations[max(iterations)])
    return [
        (int(numbers[2]), int(numbers[1]), path)
        for path in sorted(folder.glob("UnaugmentedDataSet_*/Documentation_data-*.pickle"))
        if (numbers := re.search(r"_(\d+)shuffle(\d+)$", path.stem))
    ]


def _percent(fraction: float) -> int:
    """A TrainingFraction as DeepLabCut writes it into the names of files."""
    return int(100 * fraction)


def _warn_of_changes(path: Path, stored: set[str], keys: set[str]) -> None:
    if gone := stored - keys:
        logger.warning(
            "%s: %s no longer labeled, such as %s.",
            path,
            counted(len(gone), "frame of the split is", "frames of the split are"),
            min(gone),
        )
    if new := keys - stored:
        logger.warning(
            "%s: %s labeled after the split, in none of its sets.", path, counted(len(new), "frame was", "frames were")
        )
