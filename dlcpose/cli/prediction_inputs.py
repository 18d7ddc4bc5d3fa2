"""Find the videos and images to predict, and the file that each result goes to."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dlcpose.structures.errors import ConfigError, DataError

VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv", ".ts", ".mts", ".h264", ".mjpeg")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
SUFFIX = ".poses.h5"  # of dlcpose.exporters.pose_file, which would import h5py
IMAGE_RESULTS = "images.poses.json"


class Inputs(NamedTuple):
    """Each video with the file that its poses go to, and each folder's images with theirs."""

    videos: dict[Path, Path]
    images: dict[Path, list[Path]]


def find_inputs(names: Sequence[str], output: Path | None) -> Inputs:
    """The files that names mean: a file, all videos and images of a folder, or a pattern (`cage*.mp4`).

    output: the folder of all results; beside each input unless given. Raises DataError for a name that matches nothing,
    ConfigError where two results would be one file.
    """
    files = list(dict.fromkeys(file for name in names for file in _files(name)))
    videos: dict[Path, Path] = {}
    images: dict[Path, list[Path]] = {}
    for file in files:
        folder = output or file.parent
        if file.suffix.lower() in IMAGES:
            images.setdefault(folder / IMAGE_RESULTS, []).append(file)
        else:
            videos[file] = folder / f"{file.stem}{SUFFIX}"
    taken: dict[Path, Path] = {}
    for video, result in videos.items():
        if (other := taken.setdefault(result, video)) != video:
            raise ConfigError(
                f"{other} and {video}: both results would be {result}. Predict them in two commands with another --output "
                "each, or rename one."
            )
    return Inputs(videos, images)


def _files(name: str) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in (*VIDEOS, *IMAGES))
        if not found:
            raise DataError(f"{path}: expected a folder with videos or images, got none. It knows {', '.join(VIDEOS)}.")
        return found
    if path.exists() or not set(name) & set("*?["):
        return [path]  # a missing file raises when it is read
    matching = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if not matching:
        raise DataError(f"{name}: no file matches this pattern. Correct it.")
    return [file for each in matching for file in (_files(str(each)) if each.is_dir() else [each])]
