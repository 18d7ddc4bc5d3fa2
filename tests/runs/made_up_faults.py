"""Disks that fail: the n-th open for writing, write, fsync, rename or new folder below a folder goes wrong."""

import builtins
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

NUMBERS = (errno.ENOSPC, errno.EACCES, errno.EIO)


@dataclass
class Disk:
    """What was done below `folder`, as (what, path) in order; the `fails`-th of it goes wrong, none where that is 0."""

    folder: Path
    fails: int = 0
    steps: list[tuple[str, str]] = field(default_factory=list)

    def step(self, what: str, path: Any) -> bool:
        """Count one; returns whether it is the one to fail."""
        place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 no link is followed
        if not place.startswith(f"{self.folder}{os.sep}"):
            return False
        self.steps.append((what, place))
        return len(self.steps) == self.fails

    def error(self, path: Any) -> OSError:
        """Of each kind in turn."""
        number = NUMBERS[self.fails % len(NUMBERS)]
        return OSError(number, os.strerror(number), path)


class _NoRoom(io.FileIO):
    """A file with room for one byte less than it is given."""

    def write(self, content: Any) -> int:
        super().write(memoryview(content).cast("B")[:-1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


_disks: list[Disk] = []  # those that are watched now: a hook stays for as long as its process


def _audited(event: str, arguments: tuple[Any, ...]) -> None:
    if not _disks:
        return
    disk = _disks[-1]
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR):
            return
        if disk.step("open", path):
            raise disk.error(path)
    elif event in ("os.rename", "os.mkdir") and disk.step(event.removeprefix("os."), arguments[0]):
        raise disk.error(arguments[0])


sys.addaudithook(_audited)


@contextmanager
def failing_disk(folder: Path, fails: int = 0) -> Iterator[Disk]:
    """A block in which a step below `folder` fails; gives the steps that there were.

    Every way of Python's to open, rename and make folders counts, by an audit hook; of libraries in C, which write on their
    own, the fsync and the rename that follow do.
    """
    disk = Disk(folder.absolute(), fails)
    open_now, fsync_now, opened = io.open, os.fsync, {}

    def opening(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        is_path = not isinstance(file, int)
        if is_path and set(mode) & set("wax") and disk.step("write", file):
            raw = _NoRoom(file, mode.replace("b", "").replace("t", ""))
            return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8", write_through=True)  # type: ignore[arg-type]
        result = open_now(file, mode, *rest, **more)
        if is_path:
            opened[result.fileno()] = file
        return result

    def syncing(descriptor: int) -> None:
        path = opened.get(descriptor, disk.folder / "a folder")
        if disk.step("fsync", path):
            raise disk.error(None)
        fsync_now(descriptor)

    _disks.append(disk)
    try:
        with (
            mock.patch.object(io, "open", opening),
            mock.patch.object(builtins, "open", opening),
            mock.patch.object(os, "fsync", syncing),
        ):
            yield disk
    finally:
        _disks.pop()
