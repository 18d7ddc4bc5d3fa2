"""The split of the frames into training, validation and test sets."""

from dataclasses import dataclass

from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError


@dataclass(frozen=True)
class Split:
    """Keys of the frames of each set; kept by key so that a resumed run has exactly the same sets.

    All are empty for an imported model, whose training frames are unknown. Raises DataError when a frame stands in two
    sets or there is none to train on.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.train and (self.val or self.test):
            raise DataError(
                f"The split leaves no frames to train on ({len(self.val)} for validation, {len(self.test)} to test). "
                "Label more frames or lower split.val and split.test."
            )
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            if shared := set(getattr(self, first)) & set(getattr(self, second)):
                raise DataError(
                    f"{counted(len(shared), 'frame is', 'frames are')} in both {first} and {second}, such as {min(shared)}."
                )

    def __repr__(self) -> str:
        """How many frames each set has: all their keys fill a notebook's page."""
        return f"Split({len(self.train)} train, {len(self.val)} val, {len(self.test)} test frames)"

    def as_dict(self) -> dict[str, list[str]]:
        """Plain lists, for a checkpoint or a json file."""
        return {"train": list(self.train), "val": list(self.val), "test": list(self.test)}
