"""Reader of Lightning Pose's labels: a csv of one animal's keypoints, and the images that it names."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlcpose.datasets.base import (
    LabeledFrames,
    frame_number,
    image_file_size,
    read_image_file,
    warn_of_orientations,
)
from dlcpose.datasets.deeplabcut_tables import LabelTable, read_csv
from dlcpose.datasets.label_checks import warn_of_labels
from dlcpose.datasets.readers import reader
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import InsideFolder, is_file, naming_file
from dlcpose.structures.errors import DataError
from dlcpose.structures.home_folder import expand_home
from dlcpose.structures.sample import Doubles, FrameLabels, Image, Integers, labels_of
from dlcpose.structures.skeleton import Skeleton, pairs_from_names

logger = logging.getLogger(__name__)

HEADS = ("scorer", "bodyparts", "coords")
LONGEST_HEAD = 2**20  # bytes of a header row
VISIBLE = "visible"  # the third coordinate: 0 not labeled, 1 hidden, 2 visible, as in COCO


@reader("lightning_pose")
class LightningPoseFrames(LabeledFrames):
    """The labeled frames of a data folder of Lightning Pose: one animal in each.

    root: the folder that the csv's image names start from, or the csv in it. labels: the csv below root; None takes the only
    one that has the header rows scorer, bodyparts and coords. With the coordinate `visible` a keypoint may be hidden.
    A frame without any keypoint is unlabeled (`empty_is_label`), as it does not count in Lightning Pose either.
    follow_links: also read files that names or links take from outside of root.
    Raises DataError, with the file and what to do, for labels that cannot be read.
    """

    empty_is_label = False
    opens = "a label csv of Lightning Pose or a folder with one"

    @classmethod
    def can_open(cls, path: Path) -> bool:
        """Whether a path is a csv with the header of labels, or a folder with one."""
        return bool(label_files(path)) if path.is_dir() else _has_header(path)

    @classmethod
    def open(cls, path: Path, *, follow_links: bool = False) -> "LightningPoseFrames":
        """The labels of a csv, or of the only one in a folder."""
        return cls(path, follow_links=follow_links)

    def __init__(self, root: str | int | Path, *, labels: str | int | None = None, follow_links: bool = False) -> None:
        root = expand_home(str(root))
        self.path = _label_file(root, None if labels is None else str(labels))
        self.root = root if root.is_dir() else root.parent
        links = None if follow_links else InsideFolder(self.root)
        if links is not None:
            links.check(self.path)
        table = read_csv(self.path)
        if {individual for individual, _, _ in table.columns} != {""}:
            raise DataError(
                f"{self.path}: expected labels of one animal, got columns of individuals. "
                "Set dataset=deeplabcut with the root of its project."
            )
        names = tuple(dict.fromkeys(name for _, name, _ in table.columns))
        with naming_file(self.path):
            self.skeleton, self.individuals = Skeleton(names, pairs=pairs_from_names(names)), ()
        self.frames = _frames(table, names, self.root, links)

    def read_image(self, index: int) -> Image:
        """The image of frame `index`: (H, W, 3) uint8 RGB."""
        return read_image_file(self.image_file(index))

    def image_file(self, index: int) -> Path:
        return self.root / self.frames[index].key


def label_files(folder: Path) -> list[Path]:
    """The csv files in a folder that have the header of labels."""
    return [path for path in sorted(folder.glob("*.csv")) if _has_header(path)]


def _has_header(path: Path) -> bool:
    if path.suffix != ".csv" or not path.is_file():
        return False
    with path.open("rb") as file:
        lines = [file.readline(LONGEST_HEAD) for _ in HEADS]
    return [line.split(b",")[0].strip(b'\xef\xbb\xbf"') for line in lines] == [head.encode() for head in HEADS]


def _label_file(root: Path, labels: str | None) -> Path:
    if labels is not None:
        return root / labels
    if not root.is_dir():
        if not root.is_file():
            raise DataError(
                f"{root}: expected {LightningPoseFrames.opens}, got nothing at this path. Correct the path."
            )
        return root
    found = label_files(root)
    if len(found) != 1:
        raise DataError(
            f"{root}: expected one csv with the header rows {', '.join(HEADS)}, got {[path.name for path in found]}. "
            "Name one as labels."
        )
    return found[0]


def _frames(table: LabelTable, names: Sequence[str], root: Path, links: InsideFolder | None) -> list[FrameLabels]:
    points, visibility = _points(table, names)
    frames = []
    missing: list[Path] = []
    for row in _rows(table):
        key = table.rows[row]
        if links is not None:
            links.check(root / key)
        if not is_file(root / key):
            missing.append(root / key)
            continue
        present = slice(0, int((visibility[row] > 0).any()))
        folder, _, name = key.rpartition("/")
        frames.append(
            labels_of(
                key,
                image_file_size(root / key),
                points[row : row + 1][present],
                visibility=visibility[row : row + 1][present],
                video=folder.rpartition("/")[-1],
                frame_index=frame_number(name, row),
            )
        )
    if missing:
        raise DataError(
            f"{missing[0]}: the image is missing, as are {counted(len(missing) - 1, 'other')} that {table.path} names. "
            "Set root to the folder that their names start from, or restore them."
        )
    if not any(len(frame) for frame in frames):
        raise DataError(f"{table.path}: expected labels, but no keypoint of all {len(frames)} frames has any.")
    warn_of_labels(table.path, frames)
    warn_of_orientations(str(table.path), ((root / frame.key, (frame.height, frame.width)) for frame in frames))
    return frames


def _points(table: LabelTable, names: Sequence[str]) -> tuple[Doubles, Integers]:
    """Keypoints (R, K, 2), NaN where missing, and their visibility (R, K)."""
    place = {(name, coordinate): column for column, (_, name, coordinate) in enumerate(table.columns)}
    if lacking := [(name, xy) for name in names for xy in "xy" if (name, xy) not in place]:
        raise DataError(
            f"{table.path}: the column {lacking[0][1]} of {lacking[0][0]} is missing. Save the labels again."
        )
    points = table.values[:, [[place[name, xy] for xy in "xy"] for name in names]]
    stated = np.full(points.shape[:2], 2.0)
    for k, name in enumerate(names):
        if (name, VISIBLE) in place:
            stated[:, k] = np.nan_to_num(table.values[:, place[name, VISIBLE]])
    wrong = np.argwhere(~np.isin(stated, (0, 1, 2)))
    if len(wrong):
        row, k = wrong[0]
        raise DataError(
            f"{table.path}: {table.rows[row]}: {names[k]} is visible {stated[row, k]:g}. "
            "Expected 0 (not labeled), 1 (hidden) or 2 (visible)."
        )
    half = int((np.isnan(points).sum(axis=-1) == 1).sum())
    if half:
        logger.warning(
            "%s: %s only one of x and y, taken as missing.", table.path, counted(half, "keypoint has", "keypoints have")
        )
    known = np.isfinite(points).all(axis=-1) & (stated > 0)
    return np.where(known[..., None], points, np.nan), np.where(known, stated, 0).astype(np.int64)


def _rows(table: LabelTable) -> list[int]:
    """Rows in the order of their images' names, exact duplicates left out."""
    first: dict[str, int] = {}
    for row, key in enumerate(map(os.path.normpath, table.rows)):  # a.png and ./a.png are one
        if not np.array_equal(table.values[row], table.values[first.setdefault(key, row)], equal_nan=True):
            raise DataError(f"{table.path}: {key} has two rows, with different labels. Remove one of them.")
    if len(first) < len(table.rows):
        logger.warning(
            "%s: %s there twice, with the same labels.",
            table.path,
            counted(len(table.rows) - len(first), "row is", "rows are"),
        )
    return [first[key] for key in sorted(first)]
