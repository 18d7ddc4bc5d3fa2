"""The registry of formats for labeled frames: a module registers its writer with `@label_format(name)`."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dlcpose.datasets.base import LabeledFrames
from dlcpose.exporters.label_contents import Content, contents_of
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.registry import Registry, modules_in


class LabelWriter(Protocol):
    """Writes labeled frames with their images to a path that is new: a folder, which may be empty, or a file.

    fps: of the videos that the frames are of, None where they are single frames.
    """

    def __call__(self, data: LabeledFrames, path: Path, *, fps: float | None = None) -> Any:
        """Write it, whole or not at all; raises DataError where something is there."""


Writer = TypeVar("Writer", bound=Callable[..., Any])
Holds = Set[str] | Callable[[LabeledFrames, Path], Set[str]]


FILE_ENDINGS = (".csv", ".h5", ".json", ".slp")  # of files of labels


class LabelFormat:
    """A format and its writer.

    suffix: of the file that it is, "" for a folder. holds: kinds of contents (exporters/label_contents.py) beyond keypoints
    that have a place in it, or a function that says it of some data and the path to write. entries: patterns of the files
    that it writes below its folder, besides the images of the labeled frames.
    """

    def __init__(self, name: str, write: LabelWriter, suffix: str, holds: Holds, entries: Sequence[str] = ()) -> None:
        functools.update_wrapper(self, write)  # type: ignore[arg-type]  # it stands for the writer in the registry
        self.name, self.write, self.suffix, self.entries, self._holds = name, write, suffix, tuple(entries), holds

    def losses(self, data: LabeledFrames, path: Path) -> list[Content]:
        """The contents of some data that this format, written to a path, cannot hold."""
        held = self._holds(data, path) if callable(self._holds) else self._holds
        return [content for content in contents_of(data) if content.kind not in held]

    def check_name(self, path: Path) -> None:
        """Raise ConfigError for a folder to write that is named like a file: another format was probably meant."""
        if not self.suffix and path.name.lower().endswith(FILE_ENDINGS):
            raise ConfigError(
                f"{path}: expected the name of a folder, which {self.name} data is written as, got that of a {path.suffix} "
                "file. Name a folder, or another format."
            )

    def check_replaceable(self, folder: Path, there: LabeledFrames) -> None:
        """Raise DataError where something in a folder is not of this format's own: it would be lost with the folder.

        there: the data that is in the folder now. Its images and the format's entries are its own; links never are.
        """
        files = [there.image_file(index) for index in range(len(there))]
        own = {file.resolve() for file in files if file is not None}
        for path in _files_below(folder):
            within = path.relative_to(folder)
            is_entry = any(
                len(Path(entry).parts) == len(within.parts) and within.match(entry) for entry in self.entries
            )
            if path.is_symlink() or not (is_entry or path.resolve() in own):
                raise DataError(
                    f"{path}: expected nothing in {folder} but what {self.name} data is written as, got this, which would be "
                    "lost; nothing is removed. Move it away, or name another folder."
                )


LABEL_FORMATS: Registry[LabelFormat] = Registry("dlcpose.label_formats", modules_in("dlcpose.exporters"))


def label_format(
    name: str, *, suffix: str = "", holds: Holds = frozenset(), entries: Sequence[str] = ()
) -> Callable[[Writer], Writer]:
    """A decorator that registers a writer as a format. Raises ConfigError where another has the name."""

    def registered(write: Writer) -> Writer:
        LABEL_FORMATS.register(name)(LabelFormat(name, write, suffix, holds, entries))
        return write

    return registered


def _files_below(folder: Path) -> Iterator[Path]:
    """All that is in a folder but for folders, in order; links to folders are among it."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        yield from (Path(place) / name for name in sorted([*files, *links]))


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
