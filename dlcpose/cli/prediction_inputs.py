"""Find the videos and images to predict, and the file that each result goes to."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dlcpose.cli.pose_files import SUFFIX
from dlcpose.cli.say import say
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.home_folder import expand_home

VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv", ".ts", ".mts", ".h264", ".mjpeg")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
IMAGE_RESULTS = "images.poses.json"


class Inputs(NamedTuple):
    """Each video with the file that its poses go to, and each folder's images with theirs."""

    videos: dict[Path, Path]
    images: dict[Path, list[Path]]


def find_inputs(names: Sequence[str], output: Path | None) -> Inputs:
    """The files that names mean: a file, or all videos and images of a folder or a pattern (`cage*`).

    A file that is named itself is taken whatever it is; videos and pictures that dlcpose has drawn are else left out, with a
    line each. output: the folder of all results; beside each input unless given.
    Raises DataError for a name that matches nothing, ConfigError where two results would be one file.
    """
    found = {name: _files(name) for name in names}
    files = list(dict.fromkeys(file for each in found.values() for file in each))
    named = {file for name, each in found.items() if not _is_several(name) for file in each}
    drawn = [file for file in files if file not in named and _is_drawn(file)]
    if drawn and drawn == files:
        raise DataError(
            f"{drawn[0]}: expected videos or images that dlcpose has not drawn, got none. Name it itself to predict it."
        )
    for file in drawn:
        say(f"{file}: left out, dlcpose has drawn it. Name it itself to predict it.", err=True)
    videos: dict[Path, Path] = {}
    images: dict[Path, list[Path]] = {}
    for file in files:
        if file in drawn:
            continue
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
    if not name:  # as a path it would be this folder: of a variable of the shell that is not set
        raise ConfigError(
            "VIDEO: expected a video, image, folder or pattern, got an empty text. Write . for this folder."
        )
    path = expand_home(name)
    if not _is_several(name):
        return [path]  # a missing file raises when it is read
    if path.is_dir():
        if not (files := _known_in(path)):
            raise DataError(f"{path}: expected a folder with videos or images, got none. It knows {', '.join(VIDEOS)}.")
        return files
    try:
        matching = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except ValueError as error:
        raise ConfigError(
            f"{name}: expected a pattern such as cage*.mp4 or **/*.mp4, got another ({error})."
        ) from error
    if not matching:
        raise DataError(f"{name}: no file matches this pattern. Correct it.")
    files = [file for each in matching for file in (_known_in(each) if each.is_dir() else [each]) if _is_known(file)]
    if not files:
        raise DataError(
            f"{name}: expected videos or images, got {matching[0].name}. It knows {', '.join(VIDEOS)}; a video with another "
            "ending has to be named itself."
        )
    return files


def _is_several(name: str) -> bool:
    """Whether a name is a folder or a pattern."""
    path = expand_home(name)
    return path.is_dir() or (not path.exists() and bool(set(name) & set("*?[")))


def _known_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if _is_known(file))


def _is_known(file: Path) -> bool:
    return file.suffix.lower() in (*VIDEOS, *IMAGES)


def _is_drawn(file: Path) -> bool:
    from dlcpose.visualization.drawn_mark import is_drawn_picture, is_drawn_video

    return is_drawn_picture(file) if file.suffix.lower() in IMAGES else is_drawn_video(file)
