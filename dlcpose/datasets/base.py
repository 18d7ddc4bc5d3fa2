"""What every data set is: an index of labelled frames that knows nothing of models."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage

from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import FrameLabels, Image, PoseSample
from dlcpose.structures.skeleton import Skeleton


class LabelledFrames(ABC):
    """Labelled frames of one skeleton. A subclass fills the fields in its constructor and reads images on demand.

    skeleton: what a pose consists of. individuals: names of the animals, in the order of `identities`.
    frames: the labels, in a lasting order. stored_split: the keys of "train" and "test" frames where the data itself
    says, else None. identified: whether an individual is the same animal from frame to frame. empty_is_label: whether a
    frame without animals says that none is there, or only that nobody labelled it (splits leave it out then).
    """

    skeleton: Skeleton
    individuals: tuple[str, ...]
    frames: Sequence[FrameLabels]
    stored_split: Mapping[str, tuple[str, ...]] | None = None
    has_identities: bool = False
    empty_is_label: bool = True

    @abstractmethod
    def read_image(self, index: int) -> Image:
        """The image of frame `index`: (H, W, 3) uint8 RGB. Raises DataError when it cannot be read."""

    @property
    def max_animals(self) -> int:
        """The largest number of animals that any frame can hold, at least 1."""
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
    """An image file as (H, W, 3) uint8 RGB; grey and 16-bit images are converted. Raises DataError with the path."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: the image cannot be read ({error.strerror}).") from error
    # Labels count pixels as stored: an orientation flag must not turn the image under them.
    image = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if len(content) else None
    if image is None:
        raise DataError(f"{path}: expected an image, got {len(content)} bytes that do not decode. Replace the file.")
    return np.ascontiguousarray(image[..., ::-1])


def image_file_size(path: Path) -> tuple[int, int]:
    """(height, width) from an image file's head, without decoding it. Raises DataError with the path."""
    try:
        with PillowImage.open(path) as image:
            width, height = image.size
    except OSError as error:
        reason = error.strerror or "not an image"
        raise DataError(
            f"{path}: the image cannot be read ({reason}). Restore the file or remove its labels."
        ) from error
    return height, width
