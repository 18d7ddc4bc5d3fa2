"""What a model has to know of the data it is built for."""

from dataclasses import dataclass

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
