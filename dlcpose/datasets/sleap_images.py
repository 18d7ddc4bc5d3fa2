"""Sources of the images of SLEAP's labels: a video, image files, the .slp file itself, or none where files are gone."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage

from dlcpose.datasets.base import frame_number, image_file_size, read_image_file
from dlcpose.datasets.plain_hdf5 import PlainHdf5, plain_hdf5
from dlcpose.datasets.sleap_file import MAX_SIDE, RGB_SINCE, SleapVideo, is_images
from dlcpose.datasets.video_frames import VideoFrames
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import is_file
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import Image

MAX_PIXELS = 2**28  # of an image inside a file
MAX_FOLDERS = 100  # at the end of a path, below which a file is looked for
ANY_SIZE = 2**62  # an array of images is read image by image


class FrameSource(ABC):
    """The frames of one of a file's videos, by the numbers that its labels have."""

    def __init__(self, video: SleapVideo) -> None:
        self.video = video

    @abstractmethod
    def problem(self, number: int) -> str | None:
        """Why frame `number` cannot be read, as a sentence with what to do; None where it can."""

    @abstractmethod
    def read(self, number: int) -> Image:
        """Frame `number`: (H, W, 3) uint8 RGB. Raises DataError where it cannot be read."""

    def size(self, number: int) -> tuple[int, int] | None:
        """(height, width) of frame `number` as the file states it, None where it does not."""
        return self.video.size

    def file(self, number: int) -> Path | None:
        """The file that holds frame `number` and nothing else, None where there is none."""
        return None

    def name(self, number: int) -> tuple[str, int]:
        """A frame's key, the same wherever the files lie, and its number in time."""
        if not 0 <= number < len(self._names):
            return f"{self.video.name}/{number:06d}", number
        name, in_time = self._names[number]
        return f"{self.video.name}/{name}", in_time

    @cached_property
    def _names(self) -> list[tuple[str, int]]:
        return _image_names(self.video)


class MissingFrames(FrameSource):
    """A video that is not where the file says, nor near it."""

    def __init__(self, video: SleapVideo, labels: Path, reason: str = "") -> None:
        super().__init__(video)
        named = self.video.files[0] if self.video.files else self.video.name
        self.reason = reason or (
            f"{labels}: the video {named[-200:]} is not there, nor a file of its name beside the labels. Put it there, "
            "or set videos to its folder."
        )

    def problem(self, number: int) -> str | None:
        return self.reason

    def read(self, number: int) -> Image:
        raise DataError(self.reason)


class VideoSource(FrameSource):
    """A video file."""

    def __init__(self, video: SleapVideo, path: Path) -> None:
        super().__init__(video)
        self.frames = VideoFrames(path)

    def problem(self, number: int) -> str | None:
        if not 0 <= number < self.frames.frames:
            return (
                f"{self.frames.path}: expected frame {number}, which is labeled, got {counted(self.frames.frames, 'frame')}. "
                "It may be another video of this name."
            )
        expected = self.video.size
        if expected is not None and expected != self.frames.size:
            height, width = self.frames.size
            return (
                f"{self.frames.path}: expected {expected[1]}x{expected[0]}, as labeled, got {width}x{height}. "
                "It may be another video of this name."
            )
        return None

    def size(self, number: int) -> tuple[int, int]:
        return self.frames.size

    def read(self, number: int) -> Image:
        return self.frames.read(number)


class FileSource(FrameSource):
    """Image files, one for each frame. found: where each of them is, None where it is not."""

    def __init__(self, video: SleapVideo, found: Sequence[Path | None]) -> None:
        super().__init__(video)
        self.found = tuple(found)

    def problem(self, number: int) -> str | None:
        if self.file(number) is not None:
            return None
        if 0 <= number < len(self.found):
            named = self.video.files[number][-200:]
            return f"{named}: the image is missing. Put it back, or set videos to the folder it is in."
        return f"{self.video.name}: expected image {number}, which is labeled, got {len(self.found)}. Save it anew in SLEAP."

    def size(self, number: int) -> tuple[int, int] | None:
        path = self.file(number)
        return super().size(number) if path is None else image_file_size(path)

    def file(self, number: int) -> Path | None:
        return self.found[number] if 0 <= number < len(self.found) else None

    def read(self, number: int) -> Image:
        path = self.file(number)
        if path is None:
            raise DataError(str(self.problem(number)))
        return read_image_file(path)


class EmbeddedSource(FrameSource):
    """Images inside the .slp file, encoded one by one or as one array."""

    def __init__(self, video: SleapVideo, path: Path) -> None:
        super().__init__(video)
        self.path, self.array = path, f"{video.group}/video"
        with plain_hdf5(path, "a SLEAP package") as file:
            self.stored = int(file.dataset(self.array, ANY_SIZE).shape[0])
            stated = [int(file.attribute(self.array, side, default=-1)) for side in ("height", "width")]
        self._rows = {frame: row for row, frame in enumerate(video.numbers or range(self.stored))}
        self._size = (stated[0], stated[1]) if min(stated) > 0 and max(stated) <= MAX_SIDE else None

    def problem(self, number: int) -> str | None:
        if self._rows.get(number, self.stored) < self.stored:
            return None
        return f"{self.path}: the image of frame {number} of {self.video.name} is not in it. Export it anew in SLEAP."

    def size(self, number: int) -> tuple[int, int] | None:
        if self._size is None and self.problem(number) is None:
            self._size = self.read(number).shape[:2]
        return self._size

    def read(self, number: int) -> Image:
        if (problem := self.problem(number)) is not None:
            raise DataError(problem)
        with plain_hdf5(self.path, "a SLEAP package") as file:
            images = file.dataset(self.array, ANY_SIZE)
            if images.dtype.itemsize * int(np.prod(images.shape[1:], dtype=object)) > 4 * MAX_PIXELS:
                raise DataError(f"{self.path}: {self.array} has images beyond {MAX_PIXELS} pixels.")
            stored = images[self._rows[number]]
            if stored.ndim == 3:
                is_turned = file.attribute(self.array, "input_format", default="") == "channels_first"
                return _as_rgb(stored.transpose(2, 1, 0) if is_turned else stored)
            return self._decoded(np.asarray(stored).view(np.uint8), _is_bgr(file, self.array), number)

    def _decoded(self, content: Any, is_bgr: bool, number: int) -> Image:
        place = f"{self.path}: frame {number} of {self.video.name}"
        try:
            with PillowImage.open(BytesIO(content.tobytes())) as header:
                width, height = header.size
        except (OSError, ValueError, PillowImage.DecompressionBombError) as error:
            raise DataError(f"{place}: expected an image, got {len(content)} bytes that are none ({error}).") from error
        if height * width > MAX_PIXELS:
            raise DataError(f"{place}: expected an image of {MAX_PIXELS} pixels at most, got {width}x{height}.")
        image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
        if image is None:
            raise DataError(f"{place}: expected an image, got {len(content)} bytes that do not decode.")
        # OpenCV gives B, G, R; a writer that handed it R, G, B as they are gets the same back.
        is_swapped = image.ndim == 3 and not is_bgr
        return _as_rgb(image[..., 2::-1] if is_swapped else image)


def find_frames(video: SleapVideo, labels: Path, folder: Path | None) -> FrameSource:
    """The source of a video's frames. labels: the .slp file. folder: where to look first, None for nowhere else."""
    if video.is_cropped:
        return MissingFrames(
            video, labels, f"{labels}: {video.name} is a part of a video, whose labels count from its corner. "
            "Save it with the whole frames in SLEAP."
        )  # fmt: skip
    if video.group:
        return EmbeddedSource(video, labels)
    if is_images(video.files):
        return FileSource(video, [_find(stated, labels.parent, folder) for stated in video.files])
    path = _find(video.files[0], labels.parent, folder)
    return MissingFrames(video, labels) if path is None else VideoSource(video, path)


def _image_names(video: SleapVideo) -> list[tuple[str, int]]:
    """For images one by one, the name of each in keys and its number in time: for images that in their name."""
    if not is_images(video.files):
        return []
    names = [file.rsplit("/", 1)[-1] for file in video.files]
    counts = Counter(names)
    keys = [name if counts[name] == 1 else f"{place:06d}-{name}" for place, name in enumerate(names)]
    numbers = [frame_number(each, -1) for each in names]
    is_numbered = min(numbers) >= 0 and len(set(numbers)) == len(numbers)
    return list(zip(keys, numbers if is_numbered else range(len(names)), strict=True))


def _find(stated: str, beside: Path, folder: Path | None) -> Path | None:
    """A regular file by the path that the labels state, or by the end of that path in a folder."""
    if stated.startswith("//") or "://" in stated:  # of another machine: nothing is fetched
        stated = stated.rsplit("/", 1)[-1]
    return next(filter(is_file, _candidates(stated, beside, folder)), None)


def _candidates(stated: str, beside: Path, folder: Path | None) -> Iterator[Path]:
    parts = [part for part in stated.split("/") if part not in ("", ".", "..") and not part.endswith(":")]
    parts = parts[-MAX_FOLDERS:]
    tails = [Path(*parts[start:]) for start in range(len(parts))]
    if folder is not None:
        yield from (folder / tail for tail in tails)
    yield beside / stated  # an absolute path stays as it is
    yield from (beside / tail for tail in tails)


def _is_bgr(file: PlainHdf5, name: str) -> bool:
    """Whether encoded images are stored as BGR in place of RGB, as SLEAP wrote them with OpenCV."""
    order = file.attribute(name, "channel_order", default="")
    text = order.decode() if isinstance(order, bytes) else str(order)
    return text == "BGR" if text else float(file.attribute("metadata", "format_id", default=1.0)) < RGB_SINCE


def _as_rgb(image: Any) -> Image:
    """(H, W), (H, W, 1), (H, W, 3) or with alpha, as (H, W, 3) uint8."""
    if image.dtype != np.uint8:
        image = (
            (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else (image * 255).clip(0, 255).astype(np.uint8)
        )
    channels = image[..., None] if image.ndim == 2 else image
    return np.ascontiguousarray(
        np.repeat(channels[..., :1], 3, axis=-1) if channels.shape[-1] < 3 else channels[..., :3]
    )
