"""Places and names of the images of labeled frames in a folder of data."""

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import cv2

from dlcpose.datasets.base import LabeledFrames, frame_number, image_file_size
from dlcpose.exporters.file_names import file_part
from dlcpose.structures.sample import FrameLabels

VIDEO_ENDINGS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".mpg", ".mpeg", ".m4v", ".webm", ".wmv"})
IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
PNG = ".png"


def by_video(frames: Sequence[FrameLabels]) -> dict[str, list[int]]:
    """Indices of the frames of each video, in temporal order, by the name of the video's folder."""
    folders: dict[str, str] = {}
    places: dict[str, list[int]] = {}
    for index, frame in enumerate(frames):
        if frame.video not in folders:
            folders[frame.video] = _free_name(_folder_name(frame.video), set(folders.values()))
        places.setdefault(folders[frame.video], []).append(index)
    return {name: sorted(indices, key=lambda index: frames[index].frame_index) for name, indices in places.items()}


def png_names(frames: Sequence[FrameLabels]) -> list[str]:
    """A name for the image of each frame of a video.

    Their own, if these are image files whose names differ and do not contradict the frames' numbers; else by number, or,
    where a number repeats, by their order.
    """
    names = [own_name(frame) for frame in frames]
    stems = [name.rpartition(".")[0] for name in names]
    numbers = [frame.frame_index for frame in frames]
    is_unique = len(set(numbers)) == len(numbers) and min(numbers) >= 0
    are_own = all(names) and len({stem.lower() for stem in stems}) == len(stems)
    if are_own and (not is_unique or [frame_number(name, -1) for name in names] == numbers):
        return [stem + PNG for stem in stems]
    if not is_unique:
        numbers = list(range(len(frames)))
    digits = max(4, len(str(max(numbers))))
    return [f"img{number:0{digits}d}{PNG}" for number in numbers]


def own_name(frame: FrameLabels) -> str:
    """The name of the image file that a frame is, "" where its key is none of a file."""
    name = PurePosixPath(frame.key.replace("\\", "/")).name
    return file_part(name) if PurePosixPath(name).suffix.lower() in IMAGE_ENDINGS else ""


def write_image(data: LabeledFrames, index: int, path: Path) -> None:
    """Write the image of a frame: a copy of its own file where that is of the same kind, else encoded without loss.

    Raises DataError where the image cannot be read or is not of the labels' size.
    """
    own, frame = data.image_file(index), data.frames[index]
    is_same_kind = own is not None and own.suffix.lower() == path.suffix.lower()
    if own is not None and is_same_kind and image_file_size(own) == (frame.height, frame.width):
        shutil.copyfile(own, path)
        return
    # Written as bytes: OpenCV's own writer knows no path beyond ASCII on Windows.
    cv2.imencode(PNG, data[index].image[..., ::-1])[1].tofile(path)


def _folder_name(video: str) -> str:
    place = PurePosixPath(video.replace("\\", "/"))
    name = place.stem if place.suffix.lower() in VIDEO_ENDINGS else place.name
    return file_part(name) or "frames"


def _free_name(name: str, taken: set[str]) -> str:
    candidates = (name if number == 1 else f"{name}_{number}" for number in range(1, len(taken) + 2))
    return next(candidate for candidate in candidates if candidate not in taken)
