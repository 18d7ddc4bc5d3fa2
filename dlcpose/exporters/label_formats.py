"""The registry of formats for labelled frames: a module registers its writer with `@label_format(name)`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from dlcpose.datasets.base import LabelledFrames
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.registry import Registry, modules_in


class LabelWriter(Protocol):
    """Writes labelled frames with their images into a new or empty folder. fps: of the videos that the frames are of."""

    def __call__(self, data: LabelledFrames, folder: Path, *, fps: float) -> Any:
        """Write the folder, whole or not at all; raises DataError where it is not empty."""


LABEL_FORMATS: Registry[Callable[..., Any]] = Registry("dlcpose.label_formats", modules_in("dlcpose.exporters"))
label_format = LABEL_FORMATS.register


def find_writer(name: str) -> LabelWriter:
    """The writer of a format. Raises ConfigError, with the names there are, for an unknown one."""
    formats = LABEL_FORMATS.load()
    if name not in formats:
        raise ConfigError(f"--format: expected one of {', '.join(formats)}, got {name!r}.")
    return formats[name]
