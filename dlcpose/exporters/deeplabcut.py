"""Write labeled frames as a DeepLabCut project, which DeepLabCut and this framework open alike."""

import logging
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from dlcpose.datasets.base import LabeledFrames
from dlcpose.exporters.deeplabcut_columns import LABELS, check_individuals_apart, table_columns
from dlcpose.exporters.image_files import by_video, png_names, write_image
from dlcpose.exporters.label_contents import (
    EDGES,
    IDENTITIES,
    INDIVIDUALS,
    LOOSE,
    MIXED,
    NAMES,
    PCUTOFF,
    SEVERAL,
    UNIQUE,
    UNLABELED,
)
from dlcpose.exporters.label_formats import label_format
from dlcpose.exporters.pandas_hdf5 import pandas_hdf5
from dlcpose.metrics.deeplabcut import DEFAULT_PCUTOFF
from dlcpose.structures.atomic_files import atomic_folder
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import FrameLabels
from dlcpose.visualization.video_file import write_video

logger = logging.getLogger(__name__)

SCORER = "dlcpose"
ENTRIES = (
    "config.yaml",
    f"labeled-data/*/CollectedData_{SCORER}.csv",
    f"labeled-data/*/CollectedData_{SCORER}.h5",
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _holds(data: LabeledFrames, path: Path) -> set[str]:
    """The kinds of content that a project can hold; a single-animal project cannot hold the animal's name."""
    names = {INDIVIDUALS} if _is_multi_animal(data, _individuals(data)) else set()
    return {SEVERAL, UNIQUE, UNLABELED, EDGES, IDENTITIES, LOOSE, MIXED, NAMES, PCUTOFF, *names}


@label_format("deeplabcut", holds=_holds, entries=ENTRIES)
def write_deeplabcut_project(
    data: LabeledFrames, folder: Path, *, scorer: str = SCORER, fps: float | None = None
) -> Path:
    """Write a project with config.yaml, labeled-data and, with `fps`, an mp4 of each video's labeled frames.

    It is a multi-animal project where there are several individuals or unique keypoints, else a single-animal one.
    Images keep their names, or are numbered by `frame_index` or, where that repeats, by their order. DeepLabCut has no flag
    for occluded keypoints: they are written as visible ones. Boxes, areas and splits have no place in a project. Animals of
    no track take the columns that are left free: a config.yaml has no word for it, and DeepLabCut refuses keys of others.
    Returns the folder. Raises DataError when the folder is there and not empty, there are no frames, or a frame has an
    individual twice.
    """
    if not len(data):
        raise DataError(f"{folder}: expected labeled frames to write, got none.")
    individuals = _individuals(data)
    multi_animal = _is_multi_animal(data, individuals)
    check_individuals_apart(individuals, data.skeleton, str(folder))
    names = individuals if multi_animal else None
    columns = table_columns(scorer, names, data.skeleton.names, data.skeleton.unique, LABELS)
    videos = by_video(data.frames)
    with atomic_folder(folder) as partial:
        (partial / "videos").mkdir()
        for name, indices in videos.items():
            images = png_names([data.frames[index] for index in indices])
            rows = [_row(data.frames[index], individuals) for index in indices]
            labels = partial / "labeled-data" / name
            labels.mkdir(parents=True)
            for index, image in zip(indices, images, strict=True):
                write_image(data, index, labels / image)
            _write_table(labels / f"CollectedData_{scorer}", np.stack(rows), images, name, columns)
            if fps is not None:
                _write_video(data, indices, partial / "videos" / f"{name}.mp4", fps)
        content = _config(data, scorer, individuals if multi_animal else (), videos)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (partial / "config.yaml").write_text(text, encoding="utf-8")
    return folder


def _is_multi_animal(data: LabeledFrames, individuals: Sequence[str]) -> bool:
    return len(individuals) > 1 or bool(data.skeleton.unique)


def _individuals(data: LabeledFrames) -> tuple[str, ...]:
    """The individuals of the data set, and further names where frames have more animals or unidentified ones."""
    names = list(data.individuals)
    needed = max(len(names), 1, *(_columns_needed(frame, len(names)) for frame in data.frames))
    candidates = (f"animal{number}" for number in range(1, needed + len(names) + 1))
    spare = [name for name in candidates if name not in names]
    return (*names, *spare[: needed - len(names)])


def _columns_needed(frame: FrameLabels, named: int) -> int:
    known = {int(identity) for identity in frame.identities if identity >= 0}
    unknown = int((frame.identities < 0).sum())
    return max(named, len(known) + unknown)


def _row(frame: FrameLabels, individuals: Sequence[str]) -> npt.NDArray[np.float64]:
    """A frame's coordinates in the order of the columns; animals without identity take the columns left free."""
    identities = [int(identity) for identity in frame.identities]
    known = [identity for identity in identities if identity >= 0]
    if len(set(known)) < len(known):
        twice = next(identity for identity in known if known.count(identity) > 1)
        raise DataError(
            f"{frame.key}: {individuals[twice]!r} is labeled twice in this frame, a DeepLabCut table has one place for it. "
            "Correct the individuals in the source's labels."
        )
    free = iter([place for place in range(len(individuals)) if place not in known])
    points = np.full((len(individuals), *frame.keypoints_in_image.shape[1:]), np.nan)
    for animal, identity in zip(frame.exact_keypoints, identities, strict=True):
        points[identity if identity >= 0 else next(free)] = animal
    return np.concatenate([points.ravel(), frame.exact_unique.ravel()])


def _write_table(
    stem: Path, values: npt.NDArray[np.float64], images: Sequence[str], video: str, columns: pd.MultiIndex
) -> None:
    index = pd.MultiIndex.from_tuples([("labeled-data", video, image) for image in images])
    table = pd.DataFrame(values, index=index, columns=columns)
    stem.with_name(f"{stem.name}.csv").write_text(str(table.to_csv()), encoding="utf-8")
    stem.with_name(f"{stem.name}.h5").write_bytes(pandas_hdf5(table, "df_with_missing"))


def _write_video(data: LabeledFrames, indices: Sequence[int], path: Path, fps: float) -> None:
    sizes = {(data.frames[index].height, data.frames[index].width) for index in indices}
    if len(sizes) > 1:
        logger.warning("%s: the frames have %d sizes, so no video of them is written.", path.stem, len(sizes))
        return

    def images() -> Iterator[npt.NDArray[np.uint8]]:
        for index in indices:
            yield data.read_image(index)

    write_video(path, images(), fps=fps)


def _config(
    data: LabeledFrames, scorer: str, individuals: Sequence[str], videos: dict[str, list[int]]
) -> dict[str, Any]:
    """The content of config.yaml; without individuals that of a single-animal project."""
    names, today = list(data.skeleton.names), date.today()
    if individuals:
        animals: dict[str, Any] = {
            "individuals": list(individuals),
            "uniquebodyparts": list(data.skeleton.unique),
            "multianimalbodyparts": names,
            "bodyparts": "MULTI!",
        }
    else:
        animals = {"bodyparts": names}
    first = {name: data.frames[indices[0]] for name, indices in videos.items()}
    widest = max(first.values(), key=lambda frame: frame.width)
    return {
        "Task": type(data).__name__.removesuffix("Frames").lower() or "data",
        "scorer": scorer,
        "date": f"{_MONTHS[today.month - 1]}{today.day}",
        "multianimalproject": bool(individuals),
        "identity": data.has_identities,
        "project_path": ".",  # DeepLabCut writes the folder's place here when it opens the project
        "engine": "pytorch",
        "video_sets": {
            f"videos/{name}.mp4": {"crop": f"0, {frame.width}, 0, {frame.height}"} for name, frame in first.items()
        },
        **animals,
        "start": 0,
        "stop": 1,
        "numframes2pick": 20,
        "skeleton": [[names[start], names[end]] for start, end in data.skeleton.edges],
        "skeleton_color": "black",
        "pcutoff": DEFAULT_PCUTOFF if data.pcutoff is None else data.pcutoff,
        "dotsize": 6,
        "alphavalue": 0.7,
        "colormap": "rainbow",
        "TrainingFraction": [0.95],
        "iteration": 0,
        "default_net_type": "resnet_50",
        "default_augmenter": "multi-animal-imgaug" if individuals else "imgaug",
        **({"default_track_method": "ellipse"} if individuals else {}),
        "snapshotindex": -1,
        "detector_snapshotindex": -1,
        "batch_size": 8,
        "detector_batch_size": 1,
        "cropping": False,
        # Used only with `cropping`, but DeepLabCut 3 requires a part that is not empty.
        **{"x1": 0, "x2": max(1, widest.width), "y1": 0, "y2": max(1, widest.height)},
        "corner2move2": [50, 50],
        "move2corner": True,
    }
