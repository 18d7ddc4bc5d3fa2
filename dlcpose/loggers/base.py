"""Base class of experiment trackers, which record a run's config, pictures and results besides its metrics."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlcpose.structures.sample import Image


class ExperimentTracker(ABC):
    """A Lightning logger that also records config, pictures and results, on the first of several devices only."""

    def start_at(self, step: int) -> None:  # noqa: B027
        """Called before `begin` with the step that the run starts at, 0 unless it is resumed; later records are redone."""

    @abstractmethod
    def begin(self, facts: Mapping[str, Any]) -> None:
        """Record a run's config, overrides, git revision and environment."""

    @abstractmethod
    def show(self, name: str, picture: Image, step: int) -> None:
        """Show a picture (H, W, 3) uint8 RGB."""

    @abstractmethod
    def end(self, facts: Mapping[str, Any], figures: Mapping[str, float], run_dir: Path) -> None:
        """Record the final figures, by name, and files of the run folder."""

    def close(self, succeeded: bool) -> None:  # noqa: B027
        """Close connections and files of this process."""
