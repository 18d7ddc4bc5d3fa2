"""Images and annotations of a COCO json as labeled frames; every value is checked as it is taken."""

import logging
from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dlcpose.datasets.coco_animals import Animals, Omissions, animals_of, boxes_of
from dlcpose.datasets.label_checks import warn_of_labels
from dlcpose.structures.checked_arrays import check_places, numbers_of
from dlcpose.structures.checked_values import Fields
from dlcpose.structures.counted import counted
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
    annotations, images_of = _of_categories(content["annotations"], categories, images, path)
    is_crowd = np.array([one.flag("iscrowd") for one in annotations], bool)
    omissions = Omissions(path)
    of_animals = list(compress(annotations, ~is_crowd))
    names = {name: number for number, name in enumerate(individuals)}
    animals, is_animal = animals_of(of_animals, len(skeleton), names, omissions)
    boxes = boxes_of(list(compress(annotations, is_crowd))).astype(np.float32)
    has_box = ~np.isnan(boxes).any(axis=1)
    crowds = boxes[has_box]
    frames = [
        _frame(image, animals.of(rows), crowds[ignored], len(skeleton.unique), files)
        for image, rows, ignored in zip(
            images.values(),
            _rows_of_each(images_of[~is_crowd][is_animal], len(images)),
            _rows_of_each(images_of[is_crowd][has_box], len(images)),
            strict=True,
        )
    ]
    omissions.warn()
    warn_of_labels(path, frames)
    return frames


def _of_categories(
    entries: Sequence[Any], categories: Collection[Any], images: Mapping[Any, Fields], path: Path
) -> tuple[list[Fields], Integers]:
    """The annotations of the categories that count, and the place of the image of each: (A,)."""
    places = {number: place for place, number in enumerate(images)}
    annotations, images_of, others, used = list[Fields](), list[int](), 0, set[Any]()
    for place, entry in enumerate(entries, start=1):
        name = entry.get("id") if isinstance(entry, dict) else None
        annotation = Fields(entry, f"{path}: annotation {shown(name) if name is not None else f'number {place}'}")
        number = annotation.content.get("image_id")
        if not is_id(number) or number not in places:
            such = f", such as {shown(next(iter(images)))}" if images else ""
            raise DataError(
                f"{annotation.where} is of image {shown(number)}, which is not among the "
                f"{counted(len(images), 'image')}{such}."
            )
        kind = annotation.content.get("category_id")
        if not is_id(kind):
            raise annotation.refuse("category_id", "the id of a category")
        if kind in categories:
            annotations.append(annotation)
            images_of.append(places[number])
            used.add(kind)
        else:
            others += 1
    if len(used) > 1:
        logger.warning(
            "%s: animals of %d categories are read as one kind; their categories are not kept.", path, len(used)
        )
    if others:
        logger.warning("%s: %d annotations of other categories are left out.", path, others)
    return annotations, np.array(images_of, np.int64)


def is_id(value: object) -> bool:
    """Whether a value may be an id: a text, or a number of at most 64 bits.

    Of larger ones any number have one hash, with which a file of 3 MB takes Python's mappings minutes.
    """
    return isinstance(value, str) or (type(value) is int and value.bit_length() <= 64)


def _rows_of_each(images_of: Integers, images: int) -> list[Integers]:
    """The rows of each image, from the image of each row."""
    rows = np.argsort(images_of, kind="stable")
    return np.split(rows, np.searchsorted(images_of[rows], np.arange(1, images)))[:images]  # np.split makes one of none


def _by_id(entries: Sequence[Any], path: Path) -> dict[Any, Fields]:
    images: dict[Any, Fields] = {}
    for place, entry in enumerate(entries, start=1):
        image = Fields(entry, f"{path}: image number {place}")
        number = image.content.get("id")
        if not is_id(number):
            raise image.refuse("id", "a number of at most 64 bits")
        image = Fields(entry, f"{path}: image {shown(number)}")
        if number in images:
            raise DataError(
                f"{path}: the id {shown(number)} is that of {shown(images[number].content.get('file_name'))} and of "
                f"{shown(image.content.get('file_name'))}. Give each image an id of its own, also in its annotations."
            )
        images[number] = image
    return images


def _frame(image: Fields, animals: Animals, ignored: Floats, unique: int, files: ImageFiles) -> FrameLabels:
    key = files.key(image.text("file_name").replace("\\", "/"))
    return labels_of(
        key,
        _size(image, key, files),
        animals.points,
        visibility=animals.visibility,
        boxes_in_image=animals.boxes,
        areas=animals.areas,
        identities=animals.identities,
        unique_in_image=_unique(image, unique),
        video=image.text("video", ""),
        frame_index=image.whole("frame_index", default=0),
        ignored_in_image=ignored,
    )


def _size(image: Fields, key: str, files: ImageFiles) -> tuple[int, int]:
    """(height, width) as the json states it, else from the image's header."""
    if not (image.has("width") and image.has("height")):
        return files.size(key)
    height, width = (image.whole(side, minimum=1, maximum=MAX_SIDE) for side in ("height", "width"))
    return height, width


def _unique(image: Fields, count: int) -> Doubles:
    """Unique keypoints (U, 2), which our own files keep with the image."""
    if not image.content.get("unique_keypoints"):
        return np.full((count, 2), np.nan)
    triples = numbers_of(image, "unique_keypoints", 3 * count).reshape(count, 3)
    points = np.where(triples[:, 2:] > 0, triples[:, :2], np.nan)
    check_places(points, image.where)
    return points
