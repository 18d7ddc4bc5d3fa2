"""The augmentation of a run: which random transform training frames go through, from epoch to epoch."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing albumentations takes a second
    from albumentations import Compose


CLOSING = 0.85  # share of a run after which its closing epochs begin


def first_closing_epoch(epochs: int) -> int:
    """The first of the closing epochs of a run of so many; one of three or fewer has none."""
    return round(CLOSING * epochs)


@dataclass(frozen=True)
class AugmentationPhase:
    """A part of a run with one transform. start: the share of the run's epochs after which it begins, 0 for the first."""

    start: float
    transform: "Compose"


@dataclass(frozen=True)
class AugmentationSchedule:
    """The phases of a run's augmentation, in order; of several, the last one is that of the closing epochs.

    choices: a line for each setting chosen from the data, with the reason; none for a fixed augmentation. Raises
    ValueError where the first phase does not begin at 0, or the starts do not rise within [0, 1].
    """

    phases: tuple[AugmentationPhase, ...]
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        starts = [phase.start for phase in self.phases]
        if not starts or starts[0] != 0 or starts != sorted(starts) or starts[-1] > 1:
            raise ValueError(f"Expected phases that begin at rising shares of the run, the first at 0, got {starts}.")

    def first_epochs(self, epochs: int) -> tuple[int, ...]:
        """The epoch with which each phase of a run of so many epochs begins."""
        return tuple(round(phase.start * epochs) for phase in self.phases)

    @property
    def strongest(self) -> AugmentationPhase:
        """The phase of full strength, before the closing one."""
        return self.phases[max(0, len(self.phases) - 2)]

    @property
    def strongest_throughout(self) -> tuple[int, ...]:
        """The phase of full strength as the only one, for loaders without a run."""
        return (0,) * max(1, len(self.phases) - 1) + (sys.maxsize,) * (len(self.phases) > 1)
