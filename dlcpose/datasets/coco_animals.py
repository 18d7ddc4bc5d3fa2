"""The animals and crowds that annotations of a COCO json describe, all at once: a loop over millions takes minutes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dlcpose.structures.checked_arrays import MAX_AREA, MAX_COORDINATE, check_places_of_each, numbers_of_each
from dlcpose.structures.checked_values import Fields
from dlcpose.structures.data_files import shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import Doubles, Floats, Integers

logger = logging.getLogger(__name__)


class Animals(NamedTuple):
    """What annotations say of their animals (A)."""

    points: Doubles  # (A, K, 2) px of the image; NaN where v is 0, or an animal has only a box
    visibility: Integers  # (A, K)
    boxes: Floats  # (A, 4) x1 y1 x2 y2; NaN where there is none
    areas: Floats  # (A,) px²; NaN where there is none
    identities: Integers  # (A,) place of the individual, -1 where none is named

    def of(self, rows: Integers) -> "Animals":
        """Those in some rows."""
        return Animals(
            self.points[rows], self.visibility[rows], self.boxes[rows], self.areas[rows], self.identities[rows]
        )


@dataclass
class Omissions:
    """Annotations that are left out or corrected, by the kind of fault: one warning for a whole file."""

    path: Path
    kinds: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, kind: str, annotations: Sequence[Fields], is_one: npt.NDArray[np.bool_]) -> None:
        """Take note of those of the annotations (A) that are one of a kind: (A,)."""
        if is_one.any():
            self.kinds[kind] = [one.content.get("id") for one in compress(annotations, is_one)]

    def warn(self) -> None:
        """One line for each kind."""
        for kind, names in self.kinds.items():
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            logger.warning("%s: annotations %s%s %s.", self.path, shown(names[:5]), more, kind)


def animals_of(
    annotations: Sequence[Fields], keypoints: int, individuals: Mapping[str, int], omissions: Omissions
) -> tuple[Animals, npt.NDArray[np.bool_]]:
    """The animals that annotations (A) describe, and which of these do: (A,). individuals: the place of each name.

    Raises DataError, with the annotation, for a value of another kind or out of bounds.
    """
    points, visibility = _keypoints(annotations, keypoints, omissions)
    boxes = boxes_of(annotations)
    is_labeled = np.any(visibility, axis=1)
    has_area = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    is_empty = ~np.isnan(boxes).any(axis=1) & ~has_area
    omissions.add(
        "have a bbox without area, which the box of their keypoints replaces", annotations, is_empty & is_labeled
    )
    boxes[is_empty] = np.nan
    is_animal = is_labeled | has_area
    omissions.add("have neither keypoints nor a box and are left out", annotations, ~is_animal)
    described = list(compress(annotations, is_animal))
    areas = np.array([_area(one) for one in described], np.float32)
    omissions.add("have the area 0, which that of their keypoints replaces", described, areas == 0)
    areas[areas == 0] = np.nan
    names = (one.text("individual") if one.has("individual") else None for one in described)
    identities = np.array([-1 if name is None else individuals[name] for name in names], np.int64)
    boxes_of_animals = boxes[is_animal].astype(np.float32)
    return Animals(points[is_animal], visibility[is_animal], boxes_of_animals, areas, identities), is_animal


def boxes_of(annotations: Sequence[Fields]) -> Doubles:
    """The boxes of annotations as x1 y1 x2 y2, NaN where there is none: (A, 4)."""
    has_box = np.array([bool(one.content.get("bbox")) for one in annotations], bool)
    with_box = list(compress(annotations, has_box))
    numbers = numbers_of_each(with_box, "bbox", 4)
    is_wrong = np.isnan(numbers).any(axis=1) | (numbers[:, 2:] < 0).any(axis=1)
    is_wrong |= (np.abs(numbers) > MAX_COORDINATE).any(axis=1)
    if is_wrong.any():
        annotation = with_box[int(is_wrong.argmax())]
        raise DataError(
            f"{annotation.where} has the bbox {shown(annotation.content['bbox'])}. Expected x, y, width and height in "
            "pixels, the sides not below 0. Correct it, or leave it out: then the keypoints make the box."
        )
    boxes = np.full((len(annotations), 4), np.nan)
    boxes[has_box] = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
    return boxes


def _keypoints(annotations: Sequence[Fields], count: int, omissions: Omissions) -> tuple[Doubles, Integers]:
    """Keypoints (A, K, 2), NaN where v is 0 or an animal has only a box, and visibility (A, K)."""
    has_keypoints = np.array([bool(one.content.get("keypoints")) for one in annotations], bool)
    labeled = list(compress(annotations, has_keypoints))
    triples = numbers_of_each(labeled, "keypoints", 3 * count).reshape(-1, count, 3)
    places, seen = triples[..., :2], triples[..., 2]
    is_wrong = ~np.isin(seen, (0, 1, 2))
    if is_wrong.any():
        row = int(is_wrong.any(axis=1).argmax())
        raise DataError(
            f"{labeled[row].where} has a visibility of {seen[row][is_wrong[row]][0]:g}. "
            "Expected 0 (missing), 1 (hidden) or 2 (visible)."
        )
    is_marked, is_placed = seen > 0, ~np.isnan(places).any(axis=2)
    known = is_marked & is_placed
    omissions.add(
        "have keypoints that are marked visible but have no coordinates, which count as missing",
        labeled,
        np.any(is_marked & ~is_placed, axis=1),
    )
    places[~known] = np.nan
    check_places_of_each(labeled, places)
    points = np.full((len(annotations), count, 2), np.nan)
    visibility = np.zeros((len(annotations), count), np.int64)
    points[has_keypoints], visibility[has_keypoints] = places, np.where(known, seen, 0)
    return points, visibility


def _area(annotation: Fields) -> float:
    return annotation.number("area", minimum=0, maximum=MAX_AREA) if annotation.has("area") else np.nan
