"""The registry of formats for labeled frames: a module registers its writer with `@label_format(name)`."""

import functools
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dlcpose.datasets.base import LabeledFrames
from dlcpose.exporters.label_contents import Content, contents_of
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.registry import Registry, modules_in


class LabelWriter(Protocol):
    """Writes labeled frames with their images to a path that is new: a folder, which may be empty, or a file.

    fps: of the videos that the frames are of, None where they are single frames.
    """

    def __call__(self, data: LabeledFrames, path: Path, *, fps: float | None = None) -> Any:
        """Write it, whole or not at all; raises DataError where something is there."""


Writer = TypeVar("Writer", bound=Callable[..., Any])
Holds = Set[str] | Callable[[LabeledFrames, Path], Set[str]]


class LabelFormat:
    """A format and its writer.

    suffix: of the file that it is, "" for a folder. holds: kinds of contents (exporters/label_contents.py) beyond keypoints
    that have a place in it, or a function that says it of some data and the path to write.
    """

    def __init__(self, name: str, write: LabelWriter, suffix: str, holds: Holds) -> None:
        functools.update_wrapper(self, write)  # type: ignore[arg-type]  # it stands for the writer in the registry
        self.name, self.write, self.suffix, self._holds = name, write, suffix, holds

    def losses(self, data: LabeledFrames, path: Path) -> list[Content]:
        """The contents of some data that this format, written to a path, cannot hold."""
        held = self._holds(data, path) if callable(self._holds) else self._holds
        return [content for content in contents_of(data) if content.kind not in held]


LABEL_FORMATS: Registry[LabelFormat] = Registry("dlcpose.label_formats", modules_in("dlcpose.exporters"))


def label_format(name: str, *, suffix: str = "", holds: Holds = frozenset()) -> Callable[[Writer], Writer]:
    """A decorator that registers a writer as a format. Raises ConfigError where another has the name."""

    def registered(write: Writer) -> Writer:
        LABEL_FORMATS.register(name)(LabelFormat(name, write, suffix, holds))
        return write

    return registered


def find_format(name: str, option: str = "--format") -> LabelFormat:
    """The format of a name. Raises ConfigError, with the names there are, for an unknown one."""
    formats = LABEL_FORMATS.load()
    if name not in formats:
        raise ConfigError(f"{option}: expected one of {', '.join(formats)}, got {name!r}.")
    return formats[name]


def format_for(path: Path) -> LabelFormat:
    """The format whose files end as a path does. Raises ConfigError where it is none's."""
    formats = LABEL_FORMATS.load()
    for each in formats.values():
        if each.suffix and path.name.lower().endswith(each.suffix):
            return each
    raise ConfigError(f"--to: expected one of {', '.join(formats)} for the folder {path}, got none. Name the format.")
