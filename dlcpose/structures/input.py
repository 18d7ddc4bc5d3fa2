"""How an image is brought to what a model reads: one description for training, evaluation, prediction and export."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Input:
    """Size and normalisation of a model's input.

    height, width: pixels of the canvas every image is brought to; both None leaves images at their own size.
    keep_aspect: scale both sides alike and pad right and below (letterbox), or stretch to the canvas.
    multiple_of: the canvas is padded to multiples of this, which the backbone asks for.
    mean, std: per channel of RGB scaled to [0, 1].
    Raises ValueError when only one side is given, or one that is not positive or not a multiple.
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
        for name, side in (("height", self.height), ("width", self.width)):
            if side is not None and (side <= 0 or side % self.multiple_of):
                raise ValueError(
                    f"Expected an input {name} that is a multiple of {self.multiple_of}, which this backbone needs, "
                    f"got {side}. Take {round_up(max(side, 1), self.multiple_of)}."
                )

    @property
    def canvas(self) -> tuple[int, int] | None:
        """(height, width), or None for images at their own size."""
        return None if self.height is None or self.width is None else (self.height, self.width)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Input":
        """The input that `as_dict` wrote."""
        return cls(**{**content, "mean": tuple(content["mean"]), "std": tuple(content["std"])})


def native(image_sizes: Sequence[tuple[int, int]], multiple_of: int) -> Input:
    """Images at their own size, padded to the multiple the backbone needs."""
    return Input(multiple_of=multiple_of)


def letterbox(image_sizes: Sequence[tuple[int, int]], multiple_of: int, *, longest_side: int = 320) -> Input:
    """Images scaled to fill a canvas that fits the data set's shapes, none longer than `longest_side`.

    image_sizes: (height, width) of each image. Where all are smaller than `longest_side` the largest keeps its size.
    """
    scales = [min(1.0, longest_side / max(size)) for size in image_sizes]
    shapes = {(h * scale, w * scale) for (h, w), scale in zip(image_sizes, scales, strict=True)}
    return Input(
        height=round_up(max(h for h, _ in shapes), multiple_of),
        width=round_up(max(w for _, w in shapes), multiple_of),
        multiple_of=multiple_of,
    )


def resize(image_sizes: Sequence[tuple[int, int]], multiple_of: int, *, height: int = 256, width: int = 256) -> Input:
    """Images stretched to one size, whatever their shape."""
    return Input(height=height, width=width, keep_aspect=False, multiple_of=multiple_of)


def round_up(length: float, multiple: int) -> int:
    """The next multiple that is not shorter; a rounding error's width above one does not count."""
    return -int(-(length - 1e-6) // multiple) * multiple
