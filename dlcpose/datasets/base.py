"""Base class of data sets: an index of labeled frames that knows nothing of models."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from PIL import Image as PillowImage

from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import FrameLabels, Image, PoseSample
from dlcpose.structures.skeleton import Skeleton


class LabeledFrames(ABC):
    """Labeled frames of one skeleton. A subclass sets the fields in its constructor and reads images on demand.

    skeleton: the keypoints, edges and left/right pairs. individuals: names of the animals, in the order of `identities`.
    frames: the labels, in an order that does not change. stored_split: the keys of "train", "val" and "test" frames
    where the data has a split of its own, else None. has_identities: whether an individual is the same animal in all
    frames. empty_is_label: whether a frame without animals is labeled as empty; where False, it is unlabeled and
    splits leave it out. opens: what `can_open` accepts, for the message of an error.
    """

    skeleton: Skeleton
    individuals: tuple[str, ...]
    frames: Sequence[FrameLabels]
    stored_split: Mapping[str, tuple[str, ...]] | None = None
    has_identities: bool = False
    empty_is_label: bool = True
    opens: ClassVar[str] = "nothing"

    @classmethod
    def can_open(cls, path: Path) -> bool:
        """Whether a path, which exists, looks like data of this kind; labels are not read."""
        return False

    @classmethod
    def open(cls, path: Path) -> "LabeledFrames":
        """The labeled frames at a path that this class can open. Raises DataError as the constructor does."""
        raise NotImplementedError(f"{cls.__name__} opens no path.")

    @abstractmethod
    def read_image(self, index: int) -> Image:
        """The image of frame `index`: (H, W, 3) uint8 RGB. Raises DataError when it cannot be read."""

    def image_file(self, index: int) -> Path | None:
        """The file that holds the image of frame `index` and nothing else; None where there is none, as in a video."""
        return None

    @property
    def max_animals(self) -> int:
        """The largest number of animals in a frame, or of individuals; at least 1."""
        return max([1, len(self.individuals), *(len(frame) for frame in self.frames)])

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> PoseSample:
        frame, image = self.frames[index], self.read_image(index)
        if image.shape[:2] != (frame.height, frame.width):
            raise DataError(
                f"{frame.key}: expected an image of {frame.width}x{frame.height}, "
                f"got {image.shape[1]}x{image.shape[0]}. "
                "The image and its labels do not belong together: restore one of them."
            )
        return PoseSample(labels=frame, image=image)


def read_image_file(path: Path) -> Image:
    """An image file as (H, W, 3) uint8 RGB; gray and 16-bit images are converted. Raises DataError with the path."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: the image cannot be read ({error.strerror}).") from error
    # Labels refer to pixels as stored: an orientation flag must not rotate the image.
    image = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if len(content) else None
    if image is None:
        raise DataError(f"{path}: expected an image, got {len(content)} bytes that do not decode. Replace the file.")
    return np.ascontiguousarray(image[..., ::-1])


def image_file_size(path: Path) -> tuple[int, int]:
    """(height, width) from an image file's header, without decoding it. Raises DataError with the path."""
    try:
        with PillowImage.open(path) as image:
            width, height = image.size
    except OSError as error:
        reason = error.strerror or "not an image"
        raise DataError(
            f"{path}: the image cannot be read ({reason}). Restore the file or remove its labels."
        ) from error
    return height, width


def frame_number(image_name: str, default: int) -> int:
    """The number of the frame that an image shows, by the last number in its name; without one, the default."""
    numbers = re.findall(r"\d+", Path(image_name).stem)
    return int(numbers[-1]) if numbers else default
