"""Write labeled frames as a data folder of Lightning Pose: CollectedData.csv and the images that it names."""

from pathlib import Path

import numpy as np
import pandas as pd

from dlcpose.datasets.base import LabeledFrames
from dlcpose.exporters.image_files import by_video, png_names, write_image
from dlcpose.exporters.label_contents import HIDDEN, MIXED, NAMES, UNLABELED, UNTRACKED
from dlcpose.exporters.label_formats import label_format
from dlcpose.structures.atomic_files import atomic_folder
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError

SCORER = "dlcpose"
LABELS = "CollectedData.csv"
HOLDS = frozenset({HIDDEN, MIXED, NAMES, UNLABELED, UNTRACKED})


@label_format("lightning_pose", holds=HOLDS, entries=(LABELS,))
def write_lightning_pose(data: LabeledFrames, folder: Path, *, fps: float | None = None) -> None:
    """Write CollectedData.csv, labeled-data/VIDEO/NAME.png and an empty folder for videos.

    The coordinate `visible` is written where keypoints are hidden: Lightning Pose reads it since June 2026 (its pull
    request 440). fps: there is no place for it.
    Raises DataError when the folder is there and not empty, or a frame has several animals.
    """
    if several := [frame for frame in data.frames if len(frame) > 1]:
        raise DataError(
            f"{several[0].key}: has {len(several[0])} animals, as "
            f"{counted(len(several) - 1, 'other frame has', 'other frames have')} several; "
            "Lightning Pose holds one in each. Convert to deeplabcut, coco or sleap instead."
        )
    has_hidden = any((frame.visibility == 1).any() for frame in data.frames)
    coordinates = ["x", "y", "visible"] if has_hidden else ["x", "y"]
    rows: dict[str, np.ndarray] = {}
    with atomic_folder(folder) as partial:
        (partial / "videos").mkdir()
        for video, indices in by_video(data.frames).items():
            (partial / "labeled-data" / video).mkdir(parents=True)
            for index, name in zip(indices, png_names([data.frames[index] for index in indices]), strict=True):
                image = f"labeled-data/{video}/{name}"
                write_image(data, index, partial / image)
                rows[image] = _row(data, index)[:, : len(coordinates)].ravel()
        columns = pd.MultiIndex.from_product(
            [[SCORER], data.skeleton.names, coordinates], names=["scorer", "bodyparts", "coords"]
        )
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        (partial / LABELS).write_text(str(table.to_csv()), encoding="utf-8")


def _row(data: LabeledFrames, index: int) -> np.ndarray:
    """x, y and visibility of a frame's keypoints: (K, 3), NaN, NaN, 0 where missing."""
    frame = data.frames[index]
    if not len(frame):
        return np.tile([np.nan, np.nan, 0.0], (len(data.skeleton), 1))
    return np.concatenate([frame.exact_keypoints[0], frame.visibility[0][:, None]], axis=1)
