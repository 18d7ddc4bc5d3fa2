"""Small .slp files, written by sleap-io, of lit frames in which every keypoint can be seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import sleap_io

NAMES = ("nose", "earL", "earR")
NAN = np.nan


def skeleton(name: str = "mouse", names: Sequence[str] = NAMES, symmetries: bool = True) -> Any:
    return sleap_io.Skeleton(
        list(names), edges=[(names[0], other) for other in names[1:]], name=name,
        symmetries=[("earR", "earL")] if symmetries and "earR" in names else [],
    )  # fmt: skip


def animal(of: Any, at: float, track: Any = None, *, missing: Sequence[int] = (), predicted: bool = False) -> Any:
    """An animal whose keypoints lie at (at, at + 1), (at + 2, at + 3), ..., some of them not shown."""
    points = np.arange(2.0 * len(of.nodes)).reshape(-1, 2) + at + 0.123456789
    kind = sleap_io.PredictedInstance if predicted else sleap_io.Instance
    made = kind.from_numpy(points, skeleton=of, track=track)
    for place in missing:
        made.points["visible"][place] = False
    return made


def color(number: int) -> tuple[int, int, int]:
    return 200, 30, 10 + number


def images(folder: Path, count: int, size: tuple[int, int] = (30, 40)) -> list[Path]:
    """Images of one color each, which are the frames of a made-up video."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"img{number:04d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        assert cv2.imwrite(str(path), np.full((*size, 3), color(number)[::-1], np.uint8))
    return paths


def saved(path: Path, frames: Sequence[Any], videos: Sequence[Any], **fields: Any) -> Path:
    """A .slp file of frames; the images travel with it where its name says .pkg.slp."""
    labels = sleap_io.Labels(list(frames), videos=list(videos), **fields)
    labels.save(str(path), embed="all" if path.name.endswith(".pkg.slp") else False, verbose=False)
    return path
