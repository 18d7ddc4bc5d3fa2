"""What a run tells a tracker besides its metrics: what it is, what it sees, and what came out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlcpose.structures.sample import Image


class ExperimentTracker(ABC):
    """A Lightning logger that takes these three things too, on the first of several devices only."""

    def start_at(self, step: int) -> None:  # noqa: B027
        """Before it begins: the step that the run begins with, 0 unless it is resumed. What is there of later is redone."""

    @abstractmethod
    def begin(self, facts: Mapping[str, Any]) -> None:
        """Record what a run is: its config, overrides, git revision and environment."""

    @abstractmethod
    def show(self, name: str, picture: Image, step: int) -> None:
        """Show a picture (H, W, 3) uint8 RGB."""

    @abstractmethod
    def end(self, facts: Mapping[str, Any], figures: Mapping[str, float], run_dir: Path) -> None:
        """Record the final figures, by name, and what of the run folder should be kept."""

    def close(self, succeeded: bool) -> None:  # noqa: B027
        """End what is kept open in this process."""
