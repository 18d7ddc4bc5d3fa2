"""Write predictions for manual correction in DeepLabCut, napari-deeplabcut and SLEAP.

DeepLabCut: `machinelabels-iter{N}.h5` and `machinelabels.csv` beside the images of a folder of labeled-data; once they are
corrected, DeepLabCut merges them into the project's labels (refine_training_dataset/outlier_frames.py of DeepLabCut 3).
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dlcpose.datasets.deeplabcut_config import ProjectConfig
from dlcpose.datasets.deeplabcut_tables import read_table
from dlcpose.exporters.deeplabcut_columns import PREDICTIONS, check_individuals_apart, table_columns
from dlcpose.exporters.pandas_hdf5 import pandas_hdf5
from dlcpose.exporters.sleap_table import save_slp, sleap_skeleton
from dlcpose.structures.atomic_files import atomic_output, move_into, staged_files, write_output
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import InsideFolder
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.sample import Image
from dlcpose.visualization.pictures import encoded

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
KEY = "df_with_missing"
SCORER = "dlcpose"
IMAGE = re.compile(r"(\d+)\.(?:png|jpe?g)$", re.IGNORECASE)  # of an image's name: the last number is the frame's


@dataclass(frozen=True)
class LabelColumns:
    """The animals and keypoints of a table, in its order.

    individuals: names, none for a single-animal project. names, unique: of keypoints.
    """

    individuals: tuple[str, ...]
    names: tuple[str, ...]
    unique: tuple[str, ...]

    def index(self) -> pd.MultiIndex:
        """The columns x, y, likelihood of every keypoint."""
        return table_columns(SCORER, self.individuals or None, self.names, self.unique, PREDICTIONS)


def columns_for(tracks: PoseTracks, project: ProjectConfig | None) -> LabelColumns:
    """The columns of a project, or without one those of the poses.

    Raises DataError when the poses have keypoints that the project lacks, or an animal is called `single`.
    """
    skeleton = tracks.skeleton
    check_individuals_apart(tracks.individuals, skeleton, tracks.video.path)
    if project is None:
        is_multi_animal = len(tracks.individuals) > 1 or bool(skeleton.unique)
        return LabelColumns(tracks.individuals if is_multi_animal else (), skeleton.names, skeleton.unique)
    for kind, ours, theirs in (
        ("keypoints", skeleton.names, project.skeleton.names),
        ("unique keypoints", skeleton.unique, project.skeleton.unique),
    ):
        if unknown := [name for name in ours if name not in theirs]:
            raise DataError(
                f"{project.folder}: expected the {kind} {list(theirs)}, the poses have {unknown[0]!r}. "
                "Name the project that the model was trained on."
            )
    individuals = project.individuals if project.multi_animal else ()
    return LabelColumns(individuals, project.skeleton.names, project.skeleton.unique)


def frames_in_folder(folder: Path, links: InsideFolder | None = None) -> set[int]:
    """Numbers of the frames that a folder of labeled-data has already: those with labels and those with an image.

    links: the check that files lie in the project.
    """
    if not folder.is_dir():
        return set()
    names = [path.name for path in folder.iterdir()]
    for stem in sorted({Path(name).stem for name in names if name.startswith("CollectedData_")}):
        if f"{stem}.h5" in names or f"{stem}.csv" in names:
            names += [row.rsplit("/", 1)[-1] for row in read_table(folder, stem, links).rows]
    return {int(found[1]) for name in names if (found := IMAGE.search(name))}


def check_no_machine_labels(folder: Path, iteration: int) -> None:
    """Raises DataError where a folder of labeled-data has machine labels of this iteration.

    machinelabels.csv counts for nothing: it is a copy of the last h5 that DeepLabCut itself overwrites and never removes.
    """
    path = folder / f"machinelabels-iter{iteration}.h5"
    if path.exists():
        raise DataError(
            f"{path}: is there already. Correct and merge these labels in DeepLabCut first, or write to a new folder."
        )


def write_machine_labels(
    folder: Path, tracks: PoseTracks, images: Mapping[int, Image], columns: LabelColumns, *, iteration: int = 0
) -> list[str]:
    """Write images and their poses into a folder of labeled-data, and return the images' names.

    images: RGB by row of the tracks. Animals go under the names they have in the project, else in their order; where there
    are more of them than the project has, the best ones of each frame. iteration: of the project, part of the file's name.
    Raises DataError, before anything is written, where the folder has machine labels of this iteration or one of the images.
    """
    check_no_machine_labels(folder, iteration)
    rows = sorted(images)
    digits = _digits(folder, tracks)
    names = [f"img{tracks.frame_indices[row]:0{digits}d}.png" for row in rows]
    if there := [name for name in names if (folder / name).exists()]:
        raise DataError(f"{folder / there[0]}: is there already. Choose frames that the folder does not have.")
    room, most = max(1, len(columns.individuals)), int(tracks.is_present[rows].sum(axis=1).max(initial=0))
    if most > room:
        logger.warning(
            "%s: frames with up to %s, labels for %d: the best are written.", folder, counted(most, "animal"), room
        )
    index = pd.MultiIndex.from_tuples([("labeled-data", folder.name, name) for name in names])
    values = np.stack([_row_of_table(tracks, row, columns) for row in rows])
    frame = pd.DataFrame(values, index=index, columns=columns.index())
    # All of it or nothing: a project's images count as labeled, and without their labels would never be chosen again.
    with staged_files(folder) as staging:
        for name, row in zip(names, rows, strict=True):
            write_output(staging / name, encoded(images[row], ".png"))
        write_output(staging / "machinelabels.csv", str(frame.to_csv()).encode())
        write_output(staging / f"machinelabels-iter{iteration}.h5", pandas_hdf5(frame, KEY))
        for path in sorted(staging.iterdir()):
            move_into(folder / path.name, path)
    return names


def write_sleap_suggestions(path: Path, tracks: PoseTracks, rows: Sequence[int], video: Path) -> None:
    """Write the poses of some rows as predicted instances on suggested frames of a video: a .slp file."""
    import sleap_io

    skeleton = sleap_skeleton(tracks.skeleton)
    file = sleap_io.Video(filename=str(video), open_backend=False)
    shape = (max(tracks.video.frames, 1), tracks.video.height, tracks.video.width, 3)
    file.backend_metadata = {"type": "MediaVideo", "shape": shape, "grayscale": False}
    of_column = [sleap_io.Track(name) for name in tracks.individuals] if tracks.is_tracked else []
    frames = []
    for row in rows:
        instances = [
            sleap_io.PredictedInstance.from_numpy(
                tracks.keypoints_in_image[row, column].astype(np.float64),
                skeleton=skeleton,
                point_scores=tracks.keypoint_scores[row, column],
                score=float(tracks.scores[row, column]),
                track=of_column[column] if of_column else None,
            )
            for column in np.flatnonzero(tracks.is_present[row])
        ]
        number = int(tracks.frame_indices[row])
        frames.append(sleap_io.LabeledFrame(video=file, frame_idx=number, instances=instances))
    suggestions = [sleap_io.SuggestionFrame(video=file, frame_idx=int(tracks.frame_indices[row])) for row in rows]
    labels = sleap_io.Labels(frames, videos=[file], skeletons=[skeleton], tracks=of_column, suggestions=suggestions)
    with atomic_output(path) as partial:
        save_slp(labels, partial)


def _digits(folder: Path, tracks: PoseTracks) -> int:
    """Digits of the numbers in the names of images: as those in the folder have, else as many as the last frame needs."""
    if folder.is_dir():
        widths = [len(found[1]) for path in folder.glob("img*.png") if (found := IMAGE.search(path.name))]
        if widths:
            return max(widths)
    return max(4, len(str(max(tracks.video.frames - 1, int(tracks.frame_indices[-1])))))


def _row_of_table(tracks: PoseTracks, row: int, columns: LabelColumns) -> Array:
    """Values of a row in the order of the columns: NaN, NaN, 0 for what is missing."""
    animals = np.concatenate([tracks.keypoints_in_image[row], tracks.keypoint_scores[row, :, :, None]], axis=-1)
    places = _places(tracks, row, columns.individuals)
    missing = np.array([np.nan, np.nan, 0.0])
    values = np.tile(missing, (max(1, len(columns.individuals)), len(columns.names), 1))
    keypoints = [columns.names.index(name) for name in tracks.skeleton.names]
    for column, place in places.items():
        values[place, keypoints] = animals[column]
    unique = np.tile(missing, (len(columns.unique), 1))
    for place, name in enumerate(tracks.skeleton.unique):
        unique[columns.unique.index(name)] = [*tracks.unique_in_image[row, place], tracks.unique_scores[row, place]]
    return np.concatenate([values.ravel(), unique.ravel()])


def _places(tracks: PoseTracks, row: int, individuals: Sequence[str]) -> dict[int, int]:
    """For each column of the tracks that is kept the place of its animal among the individuals."""
    if tracks.is_tracked and set(tracks.individuals) <= set(individuals):
        return {column: individuals.index(name) for column, name in enumerate(tracks.individuals)}
    room = max(1, len(individuals))
    best = np.argsort(-tracks.scores[row], kind="stable")[:room]
    return {int(column): place for place, column in enumerate(sorted(best))}
