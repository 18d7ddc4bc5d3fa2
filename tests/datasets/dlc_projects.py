"""DeepLabCut projects made up for tests, written with pandas as DeepLabCut itself writes them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

SINGLE = {"Task": "made", "scorer": "Ada", "date": "Jan1", "project_path": "/nowhere", "bodyparts": ["nose", "tail"]}
MULTI = {
    **{key: value for key, value in SINGLE.items() if key != "bodyparts"},
    "multianimalproject": True,
    "identity": False,
    "bodyparts": "MULTI!",
    "individuals": ["a", "b"],
    "multianimalbodyparts": ["nose", "earL", "earR"],
    "uniquebodyparts": ["door"],
}


def single_columns(
    bodyparts: tuple[str, ...] = ("nose", "tail"), coords: tuple[str, ...] = ("x", "y")
) -> pd.MultiIndex:
    return pd.MultiIndex.from_product([["Ada"], bodyparts, coords], names=["scorer", "bodyparts", "coords"])


def multi_columns() -> pd.MultiIndex:
    animals = [("Ada", who, part, xy) for who in "ab" for part in ("nose", "earL", "earR") for xy in "xy"]
    arena = [("Ada", "single", "door", xy) for xy in "xy"]
    return pd.MultiIndex.from_tuples(animals + arena, names=["scorer", "individuals", "bodyparts", "coords"])


def labels(
    video: str, values: Any, columns: pd.MultiIndex | None = None, images: list[str] | None = None
) -> pd.DataFrame:
    values = np.asarray(values, float)
    images = images or [f"img{number:04d}.png" for number in range(len(values))]
    index = pd.MultiIndex.from_tuples([("labeled-data", video, image) for image in images])
    return pd.DataFrame(values, index, single_columns() if columns is None else columns)


def write_project(root: Path, tables: dict[str, pd.DataFrame], config: dict[str, Any] | None = None) -> Path:
    """A project with csv labels and black 30x40 images; `tables` by name of folder."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.yaml").write_text(yaml.safe_dump(SINGLE if config is None else config))
    for video, table in tables.items():
        folder = root / "labeled-data" / video
        folder.mkdir(parents=True)
        table.to_csv(folder / "CollectedData_Ada.csv")
        write_images(folder, [str(place[-1] if isinstance(place, tuple) else place) for place in table.index])
    return root


def write_images(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name.replace("\\", "/").rsplit("/", 1)[-1]
        assert cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))


def ten_frames(video: str = "cage") -> pd.DataFrame:
    return labels(video, np.arange(40.0).reshape(10, 4))


def faulty_project(folder: Path) -> Path:
    """Ten frames: two alike, one that does not decode, one point outside, two points in one place."""
    table = ten_frames() % 25
    table.iloc[2] = [100, 5, 6, 7]
    table.iloc[3] = [5, 5, 5, 5]
    table.iloc[4] = np.nan
    root = write_project(folder / "project", {"cage": table})
    for number in range(10):
        image = np.full((30, 40, 3), 10 * number if number != 6 else 50, np.uint8)
        assert cv2.imwrite(str(root / f"labeled-data/cage/img{number:04d}.png"), image)
    path = root / "labeled-data/cage/img0009.png"
    path.write_bytes(path.read_bytes()[:60])  # the head is whole, the pixels are gone
    return root
