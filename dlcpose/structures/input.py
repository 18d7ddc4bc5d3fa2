"""The input of a pose network, image size and normalization, shared by training, evaluation, prediction and export."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from dlcpose.structures.checked_values import is_number
from dlcpose.structures.setting_bounds import MAX_NUMBER

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ANIMAL_SIDE = 80  # px of the input at which keypoints of an animal are well apart
MIN_LONGEST_SIDE, MAX_LONGEST_SIDE = 320, 640  # px
SIDE_MULTIPLE = 32  # px: sides that differ by less are one size


@dataclass(frozen=True)
class Input:
    """Size and normalization of what a pose network sees: whole images, or the crops of a top-down model.

    height, width: pixels; both None leaves images at their native size.
    keep_aspect: of whole images, whether both sides are scaled alike and padded on the right and below (letterbox), or
    stretched. Crops always keep their aspect.
    multiple_of: height and width are multiples of this, which the backbone needs; native images are padded to them.
    mean, std: per channel of RGB scaled to [0, 1].
    Raises ValueError when only one side is given, or one that is not positive or not a multiple, and for a mean or std
    that is not three numbers up to 10^6, the latter from 10^-6.
    """

    height: int | None = None
    width: int | None = None
    keep_aspect: bool = True
    multiple_of: int = 1
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        sides = (self.height, self.width)
        if (self.height is None) != (self.width is None):
            raise ValueError(f"An input has both a height and a width or neither, got {sides}.")
        channels: tuple[Any, ...] = (*self.mean, *self.std)  # of a file, where they may be anything
        are_numbers = len(self.mean) == len(self.std) == 3 and all(map(is_number, channels))
        # float32 holds no quotient of larger ones.
        if not are_numbers or max(map(abs, channels)) > MAX_NUMBER or min(self.std) < 1 / MAX_NUMBER:
            raise ValueError(
                f"Expected a finite mean and a positive std of each channel, up to {MAX_NUMBER:g}, got {self.mean} and "
                f"{self.std}."
            )
        for name, side in (("height", self.height), ("width", self.width)):
            if side is not None and (side <= 0 or side % self.multiple_of):
                raise ValueError(
                    f"Expected an input {name} that is a multiple of {self.multiple_of}, which this backbone needs, "
                    f"got {side}. Take {round_up(max(side, 1), self.multiple_of)}."
                )

    @property
    def canvas(self) -> tuple[int, int] | None:
        """(height, width), or None for images at their native size."""
        return None if self.height is None or self.width is None else (self.height, self.width)

    def at_native_size(self) -> "Input":
        """This input without a height and a width: images keep their size."""
        return replace(self, height=None, width=None, keep_aspect=True)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Input":
        """The input that `as_dict` wrote. Raises ValueError for sides that are no whole numbers."""
        for name in ("height", "width", "multiple_of"):
            side = content.get(name, 1)
            is_native = side is None and name != "multiple_of"
            if not is_native and (type(side) is not int or side < 1):
                raise ValueError(f"expected a whole number from 1 as {name}, got {side!r:.50}")
        return cls(**{**content, "mean": tuple(content["mean"]), "std": tuple(content["std"])})


def native(image_sizes: Sequence[tuple[int, int]], multiple_of: int) -> Input:
    """An input that keeps images at their native size, padded to the multiple that the backbone needs."""
    return Input(multiple_of=multiple_of)


def letterbox(
    image_sizes: Sequence[tuple[int, int]],
    multiple_of: int,
    animal_shares: Sequence[float] = (),
    *,
    longest_side: int | None = None,
) -> Input:
    """The input that scales images until no side is longer than `longest_side` px, padded to a canvas for all of them.

    image_sizes: (height, width) of each image of the data. Images are never enlarged to choose the canvas.
    animal_shares: the longer side of each animal as a share of the longer side of its image. longest_side: None chooses
    one at which half of the animals have 80 px or more, from 320 to 640 px.
    """
    side = longest_side or _longest_side_for(animal_shares)
    scales = [min(1.0, side / max(size)) for size in image_sizes]
    shapes = {(h * scale, w * scale) for (h, w), scale in zip(image_sizes, scales, strict=True)}
    return Input(
        height=round_up(max(h for h, _ in shapes), multiple_of),
        width=round_up(max(w for _, w in shapes), multiple_of),
        multiple_of=multiple_of,
    )


def _longest_side_for(animal_shares: Sequence[float]) -> int:
    if not len(animal_shares):
        return MIN_LONGEST_SIDE
    side = round_up(ANIMAL_SIDE / max(median(animal_shares), 1e-9), SIDE_MULTIPLE)
    return min(max(side, MIN_LONGEST_SIDE), MAX_LONGEST_SIDE)


def resize(image_sizes: Sequence[tuple[int, int]], multiple_of: int, *, height: int = 256, width: int = 256) -> Input:
    """The input of one size for images of any shape: whole images are stretched to it, crops are cut in it."""
    return Input(height=height, width=width, keep_aspect=False, multiple_of=multiple_of)


def round_up(length: float, multiple: int) -> int:
    """The next multiple that is at least the length, rounding errors aside."""
    return -int(-(length - 1e-6) // multiple) * multiple
