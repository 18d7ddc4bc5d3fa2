"""Base class of data sets: an index of labeled frames that knows nothing of models."""

import logging
import re
import struct
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from PIL import Image as PillowImage

from dlcpose.structures.checked_values import Fields
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import check_file, read_file, reading
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import FrameLabels, Image, PoseSample
from dlcpose.structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

MAX_PIXELS = 2**28  # of an image: 16 384 x 16 384, and 800 MB in memory; a small file can say that it holds more
MAX_IMAGE_BYTES = 2**31
ORIENTATION = 0x0112  # tag of EXIF and TIFF
SIDEWAYS = (5, 6, 7, 8)  # orientations whose upright image is as wide as the stored one is high
_PIXELS_ARE_COUNTED_HERE = threading.Lock()  # Pillow's own limit, which is for all of a process, is off meanwhile
IDENTITY_FLAG = "individuals_are_identities"  # by which files that we write keep `has_identities`
OWN = "dlcpose"  # under which files that we write keep what their format has no place for; other readers pass over it


class LabeledFrames(ABC):
    """Labeled frames of one skeleton. A subclass sets the fields in its constructor and reads images on demand.

    skeleton: the keypoints, edges and left/right pairs. individuals: names of the animals, in the order of `identities`.
    frames: the labels, in an order that does not change. stored_split: the keys of "train", "val" and "test" frames
    where the data has a split of its own, else None. has_identities: whether an individual is the same animal in all
    frames. split_settings: the settings by which the stored split was chosen of several, which any other split refuses.
    empty_is_label: whether a frame without animals is labeled as empty; where False, it is unlabeled and
    splits leave it out. pcutoff: the score that the data's own project asks of a keypoint, None where it has none.
    opens: what `can_open` accepts, for the message of an error.
    """

    skeleton: Skeleton
    individuals: tuple[str, ...]
    frames: Sequence[FrameLabels]
    stored_split: Mapping[str, tuple[str, ...]] | None = None
    has_identities: bool = False
    split_settings: tuple[str, ...] = ()
    empty_is_label: bool = True
    pcutoff: float | None = None
    opens: ClassVar[str] = "nothing"

    @classmethod
    def can_open(cls, path: Path) -> bool:
        """Whether a path, which exists, looks like data of this kind; labels are not read."""
        return False

    @classmethod
    def open(cls, path: Path, *, follow_links: bool = False) -> "LabeledFrames":
        """The labeled frames at a path that this class can open. Raises DataError as the constructor does.

        follow_links: also read files that names or links take from outside of the data's folder.
        """
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


def read_image_file(path: Path, *, size: tuple[int, int] | None = None) -> Image:
    """An image file as (H, W, 3) uint8 RGB, upright: as its EXIF or TIFF orientation says, and as every viewer shows it.

    Gray images are repeated, alpha is dropped, of 16 bits the upper 8 are taken. size: (height, width) that its labels
    state; where that is the size of the pixels as they are stored, and not of the upright image, they stay as stored.
    Raises DataError with the path, also for more than MAX_PIXELS and for images of floating point.
    """
    content = read_file(path, max_bytes=MAX_IMAGE_BYTES)
    header = _header(content, path) if content else None
    if header is not None and header.mode in ("F", "I") and header.format == "TIFF":
        raise DataError(f"{path}: expected pixels of 8 or 16 bits, got numbers of 32 bits. Convert the image.")
    # Readers of formats treat orientations differently: all leave it here.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    with reading(path):
        stored = _without_orientation(content) if header is not None and header.format == "TIFF" else content
        image = cv2.imdecode(np.frombuffer(stored, np.uint8), flags) if header is not None else None
    if image is None or header is None:
        raise DataError(f"{path}: expected an image, got {len(content)} bytes that do not decode. Replace the file.")
    if not (header.upright != size and header.stored == size):
        image = _turned(image, header.orientation)
    return np.ascontiguousarray(image[..., ::-1])


def image_file_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright image from a file's header, without decoding it. Raises DataError with the path."""
    return read_header(path).upright


def stated_pcutoff(content: Mapping[str, Any], where: str) -> float | None:
    """The `pcutoff` that a file of ours keeps in its notes (COCO's `info`, SLEAP's provenance), None where it has none.

    where: the place of the notes, for errors. Raises DataError for what is no number from 0 to 1.
    """
    own = Fields(content, where).mapping(OWN)
    return own.number("pcutoff", minimum=0, maximum=1) if own.has("pcutoff") else None


class Header(NamedTuple):
    """The header of an image file: (height, width) of the pixels as stored, EXIF orientation 1 to 8, mode."""

    stored: tuple[int, int]
    orientation: int
    mode: str
    format: str

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) as it is shown."""
        return self.stored[::-1] if self.orientation in SIDEWAYS else self.stored


def read_header(path: Path) -> Header:
    """The header of an image file. Raises DataError with the path for what is none, or has more than MAX_PIXELS."""
    check_file(path, max_bytes=MAX_IMAGE_BYTES)
    header = _header(path, path)
    if header is None:
        raise DataError(f"{path}: expected an image, got something else. Restore the file or remove its labels.")
    return header


def warn_of_orientations(named: str, images: Iterable[tuple[Path, tuple[int, int]]]) -> None:
    """Warn of images that are stored turned, whose labels state no size that shows which orientation they were made in.

    named: of the labels. images: each with the size (height, width) that its labels state.
    """
    turned = [path for path, size in images if (header := read_header(path)).orientation != 1 and header.stored == size]
    if turned:
        logger.warning(
            "%s: %s stored turned or mirrored (an EXIF orientation), such as %s. Images are read as they are "
            "stored where only that fits the size that is stated, else upright, as viewers show them. Look at the labels "
            "with dlcpose inspect; saving the images upright ends the doubt.",
            named,
            counted(len(turned), "image is", "images are"),
            turned[0],
        )


def _header(source: bytes | Path, path: Path) -> Header | None:
    """Pillow's reading of a header; None where it is of no image."""
    try:
        with _PIXELS_ARE_COUNTED_HERE, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
            try:
                with PillowImage.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
                    tags = getattr(image, "tag_v2", {})  # of TIFF, whose size Pillow may have turned already
                    width, height = (int(tags.get(tag, side)) for tag, side in zip((256, 257), image.size, strict=True))
                    mode, kind = image.mode, image.format or ""
                    orientation = _orientation(image)
            finally:
                PillowImage.MAX_IMAGE_PIXELS = limit
    except Exception:  # a damaged header can make its parser raise anything
        return None
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: expected at most {MAX_PIXELS} pixels, got {width}x{height}. Cut the image into smaller ones."
        )
    return Header((height, width), orientation, mode, kind)


def _orientation(image: PillowImage.Image) -> int:
    """The orientation that a file states, 1 where it states no valid one; no pixels are decoded."""
    try:
        exif = image.getexif() if image.format != "PNG" else PillowImage.Exif()
        if image.format == "PNG":  # Pillow would decode it, to look for a chunk behind the pixels
            exif.load(image.info.get("exif", b""))
        orientation = exif.get(ORIENTATION, 1)
    except Exception:  # damaged, while the pixels may be sound
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _without_orientation(content: bytes) -> bytes:
    """A TIFF whose first image says that it is stored upright: OpenCV turns these whatever flags it is given."""
    order = "<" if content[:2] == b"II" else ">"
    is_big = struct.unpack_from(f"{order}H", content, 2)[0] == 43  # BigTIFF
    start = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", content, 8 if is_big else 4)[0]
    count = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", content, start)[0]
    first, size, value = (start + 8, 20, 12) if is_big else (start + 2, 12, 8)
    for place in range(first, min(first + count * size, len(content) - size + 1), size):
        if struct.unpack_from(f"{order}H", content, place)[0] == ORIENTATION:
            changed = bytearray(content)
            struct.pack_into(f"{order}H", changed, place + value, 1)
            return bytes(changed)
    return content


def _turned(image: Image, orientation: int) -> Image:
    """Stored pixels (H, W, 3) as they are shown. Source: the orientation tag of TIFF 6.0 and EXIF."""
    if orientation in SIDEWAYS:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def frame_number(image_name: str, default: int) -> int:
    """The number of the frame that an image shows, by the last number in its name; without one, the default."""
    numbers = re.findall(r"\d+", Path(image_name).stem)
    return int(numbers[-1]) if numbers else default
