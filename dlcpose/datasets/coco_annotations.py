"""Images and annotations of a COCO json as labeled frames; every value is checked as it is taken."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dlcpose.datasets.label_checks import warn_of_labels
from dlcpose.structures.checked_values import MAX_AREA, MAX_COORDINATE, Fields, check_places
from dlcpose.structures.data_files import shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import Doubles, Floats, FrameLabels, Integers, labels_of
from dlcpose.structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

MAX_SIDE = 2**20  # px of an image


class ImageFiles(Protocol):
    """Where the images of a json lie."""

    def key(self, file_name: str) -> str:
        """The key of an image: its path from the data set's folder."""

    def size(self, key: str) -> tuple[int, int]:
        """(height, width) from its header."""


class _Omissions:
    """Annotations that are left out or corrected, by the kind of fault: one warning for a whole file."""

    def __init__(self, path: Path) -> None:
        self.path, self.kinds = path, dict[str, list[Any]]()

    def add(self, kind: str, name: Any) -> None:
        self.kinds.setdefault(kind, []).append(name)

    def warn(self) -> None:
        for kind, names in self.kinds.items():
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            logger.warning("%s: annotations %s%s %s.", self.path, shown(names[:5]), more, kind)


def read_frames(
    content: Mapping[str, Any],
    categories: Collection[Any],
    skeleton: Skeleton,
    individuals: Sequence[str],
    path: Path,
    files: ImageFiles,
) -> list[FrameLabels]:
    """The frames of a json's images. categories: the ids of those whose annotations count.

    Raises DataError, with the image or annotation, for a value of another kind or out of bounds.
    """
    images = _by_id(content["images"], path)
    by_image: dict[Any, list[Fields]] = {number: [] for number in images}
    omissions, others, used = _Omissions(path), 0, set[Any]()
    for place, entry in enumerate(content["annotations"], start=1):
        name = entry.get("id") if isinstance(entry, dict) else None
        annotation = Fields(entry, f"{path}: annotation {shown(name) if name is not None else f'number {place}'}")
        number = annotation.content.get("image_id")
        if not isinstance(number, str | int) or number not in by_image:
            raise DataError(
                f"{annotation.where} is of image {shown(number)}, which is not among the {len(by_image)} images, such as "
                f"{shown(next(iter(by_image), None))}."
            )
        kind = annotation.content.get("category_id")
        if isinstance(kind, bool) or not isinstance(kind, str | int):
            raise annotation.refuse("category_id", "the id of a category")
        if kind in categories:
            by_image[number].append(annotation)
            used.add(kind)
        else:
            others += 1
    if len(used) > 1:
        logger.warning(
            "%s: animals of %d categories are read as one kind; their categories are not kept.", path, len(used)
        )
    if others:
        logger.warning("%s: %d annotations of other categories are left out.", path, others)
    frames = [
        _frame(image, by_image[number], skeleton, individuals, files, omissions) for number, image in images.items()
    ]
    omissions.warn()
    warn_of_labels(path, frames)
    return frames


def _by_id(entries: Sequence[Any], path: Path) -> dict[Any, Fields]:
    images: dict[Any, Fields] = {}
    for place, entry in enumerate(entries, start=1):
        image = Fields(entry, f"{path}: image number {place}")
        number = image.content.get("id")
        if isinstance(number, bool) or not isinstance(number, str | int):
            raise image.refuse("id", "a number")
        image = Fields(entry, f"{path}: image {shown(number)}")
        if number in images:
            raise DataError(
                f"{path}: the id {shown(number)} is that of {shown(images[number].content.get('file_name'))} and of "
                f"{shown(image.content.get('file_name'))}. Give each image an id of its own, also in its annotations."
            )
        images[number] = image
    return images


def _frame(
    image: Fields,
    annotations: Sequence[Fields],
    skeleton: Skeleton,
    individuals: Sequence[str],
    files: ImageFiles,
    omissions: _Omissions,
) -> FrameLabels:
    key = files.key(image.text("file_name").replace("\\", "/"))
    crowds = [_box(one) for one in annotations if one.flag("iscrowd")]
    animals = []
    for annotation in annotations:
        if annotation.flag("iscrowd"):
            continue
        animal = _animal(annotation, len(skeleton), omissions)
        if animal is not None:
            animals.append(animal)
    points, seen, boxes, areas, names = zip(*animals, strict=True) if animals else ((), (), (), (), ())
    return labels_of(
        key,
        _size(image, key, files),
        np.array(points, np.float64).reshape(len(animals), len(skeleton), 2),
        visibility=np.array(seen, np.int64).reshape(len(animals), len(skeleton)),
        boxes_in_image=_stacked(boxes, (4,)),
        areas=np.array(areas, np.float32),
        identities=np.array([-1 if name is None else individuals.index(name) for name in names], np.int64),
        unique_in_image=_unique(image, len(skeleton.unique)),
        video=image.text("video", ""),
        frame_index=image.whole("frame_index", default=0),
        ignored_in_image=_stacked([box for box in crowds if box is not None], (4,)),
    )


def _size(image: Fields, key: str, files: ImageFiles) -> tuple[int, int]:
    """(height, width) as the json states it, else from the image's header."""
    if not (image.has("width") and image.has("height")):
        return files.size(key)
    height, width = (image.whole(side, minimum=1, maximum=MAX_SIDE) for side in ("height", "width"))
    return height, width


def _stacked(arrays: Sequence[npt.NDArray[Any]], shape: tuple[int, ...]) -> Floats:
    return np.array(arrays, np.float32).reshape(len(arrays), *shape)


def _animal(
    annotation: Fields, count: int, omissions: _Omissions
) -> tuple[Doubles, Integers, Doubles, float, str | None] | None:
    """Keypoints (K, 2), visibility (K,), box (4,), area and name of an animal; None where nothing of it is labeled."""
    name = annotation.content.get("id")
    points, seen = _keypoints(annotation, count, omissions)
    box = _box(annotation)
    if box is not None and not (box[2:] > box[:2]).all():
        if seen.any():
            omissions.add("have a bbox without area, which the box of their keypoints replaces", name)
        box = None
    if box is None and not seen.any():
        omissions.add("have neither keypoints nor a box and are left out", name)
        return None
    area = annotation.number("area", minimum=0, maximum=MAX_AREA) if annotation.has("area") else np.nan
    if area == 0:
        omissions.add("have the area 0, which that of their keypoints replaces", name)
        area = np.nan
    individual = annotation.text("individual") if annotation.has("individual") else None
    return points, seen, np.full(4, np.nan) if box is None else box, area, individual


def _keypoints(annotation: Fields, count: int, omissions: _Omissions) -> tuple[Doubles, Integers]:
    """Keypoints (K, 2), NaN where v is 0 or an animal has only a box, and visibility (K,)."""
    if not annotation.content.get("keypoints"):
        return np.full((count, 2), np.nan), np.zeros(count, np.int64)
    triples = annotation.numbers("keypoints", 3 * count).reshape(count, 3)
    seen = triples[:, 2]
    is_visibility = (seen == 0) | (seen == 1) | (seen == 2)
    if not is_visibility.all():
        raise DataError(
            f"{annotation.where} has a visibility of {seen[~is_visibility][0]:g}. "
            "Expected 0 (missing), 1 (hidden) or 2 (visible)."
        )
    is_placed = ~np.isnan(triples[:, :2]).any(axis=1)
    known = (seen > 0) & is_placed
    if ((seen > 0) & ~is_placed).any():
        omissions.add(
            "have keypoints that are marked visible but have no coordinates, which count as missing",
            annotation.content.get("id"),
        )
    check_places(triples[known, :2], annotation.where)
    points = np.where(known[:, None], triples[:, :2], np.nan)
    return points, np.where(known, seen, 0).astype(np.int64)


def _unique(image: Fields, count: int) -> Doubles:
    """Unique keypoints (U, 2), which our own files keep with the image."""
    if not image.content.get("unique_keypoints"):
        return np.full((count, 2), np.nan)
    triples = image.numbers("unique_keypoints", 3 * count).reshape(count, 3)
    points = np.where(triples[:, 2:] > 0, triples[:, :2], np.nan)
    check_places(points, image.where)
    return points


def _box(annotation: Fields) -> Doubles | None:
    """A box (4,) as x1 y1 x2 y2, None where there is none."""
    if not annotation.content.get("bbox"):
        return None
    left, top, width, height = numbers = annotation.numbers("bbox", 4)
    if np.isnan(numbers).any() or min(width, height) < 0 or np.abs(numbers).max() > MAX_COORDINATE:
        raise DataError(
            f"{annotation.where} has the bbox {shown(annotation.content['bbox'])}. Expected x, y, width and height in "
            "pixels, the sides not below 0. Correct it, or leave it out: then the keypoints make the box."
        )
    return np.array([left, top, left + width, top + height])
