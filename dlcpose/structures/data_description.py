"""The facts of the data that a model is built for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton


@dataclass(frozen=True)
class DataDescription:
    """The facts of the data that a model is built for.

    skeleton: of the animals. model_input: how the pose network sees them. max_animals: in one image.
    individuals: names of the animals where each is the same one from frame to frame, else none.
    """

    skeleton: Skeleton
    model_input: Input
    max_animals: int = 1
    individuals: tuple[str, ...] = ()


# Limits for untrusted files: larger numbers would only take memory.
MAX_KEYPOINTS, MAX_SIDE, MAX_INDIVIDUALS = 1_024, 16_384, 10_000
MAX_PIXELS = 2**25  # of an image that is resized and padded for the network: a frame of 8K video
MAX_MULTIPLE = 1_024  # px: any image is padded to it


def check_limits(described: Mapping[str, Any]) -> None:
    """Raises ValueError where a file's description of its data is of other types, or larger than that of any data."""
    max_animals = described["max_animals"]
    if type(max_animals) is not int or not 0 <= max_animals <= MAX_INDIVIDUALS:
        raise ValueError(f"expected max_animals from 0 to {MAX_INDIVIDUALS}, got {max_animals!r:.50}")
    identified = described.get("identified", False)  # an exported model has none
    if type(identified) is not bool:
        raise ValueError(f"expected true or false as identified, got {identified!r:.50}")
    skeleton = described["skeleton"]
    check_texts({"names": skeleton["names"], "unique": skeleton["unique"], "individuals": described["individuals"]})
    check_texts(described.get("split", {}))  # nor a split
    if len(skeleton["names"]) > MAX_KEYPOINTS or len(described["individuals"]) > MAX_INDIVIDUALS:
        raise ValueError(f"expected at most {MAX_KEYPOINTS} keypoints and {MAX_INDIVIDUALS} individuals")
    if len(set(described["individuals"])) < len(described["individuals"]):  # tables would have columns of one name
        raise ValueError("expected individuals of unlike names, got two of one")
    model_input = Input.from_dict(described["input"])
    height, width = model_input.canvas or (1, 1)
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS or model_input.multiple_of > MAX_MULTIPLE:
        raise ValueError(
            f"expected an input of at most {MAX_SIDE} px, {MAX_PIXELS} in all, and of multiples of at most {MAX_MULTIPLE}, "
            f"got {model_input.canvas} and {model_input.multiple_of}"
        )


def check_texts(lists: Mapping[str, Any]) -> None:
    """Raises ValueError for what is no list of texts: a text itself would be taken as a list of its letters."""
    for name, values in lists.items():
        if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
            raise ValueError(f"expected a list of texts as {name}, got {values!r:.50}")
