# ruff: noqa: PTH100, PTH112, PTH113, PTH116, PTH208
"""A Python on Linux that refuses what Windows refuses: taken by itself where this folder is first in PYTHONPATH.

Modules that Windows has not are missing for dlcpose's code; a file that this process holds open can neither be removed nor
renamed nor replaced; a folder cannot be opened; names have none of the characters that Windows keeps for itself; and signal 0
is Ctrl-C.
"""

import builtins
import errno
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# These two ask what system it is, and are not like the others.
OF_THE_SYSTEM = {"dlcpose.structures.environment", "dlcpose.structures.file_lock"}
MISSING = {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline"}
NOT_IN_NAMES = re.compile(r'[<>:"|?*\x00-\x1f]|[ .]$')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

import_module, open_file, open_number, kill, make_folder = builtins.__import__, open, os.open, os.kill, os.mkdir


def importing(name: str, namespace: Any = None, *rest: Any, **named: Any) -> Any:
    importer = (namespace or {}).get("__name__") or ""
    if name.split(".")[0] in MISSING and importer.startswith("dlcpose") and importer not in OF_THE_SYSTEM:
        raise ImportError(f"{importer}: no module named {name!r}")
    return import_module(name, namespace, *rest, **named)


def is_held(path: Any, folder: int | None) -> bool:
    """Whether this process has the file open, or in its memory."""
    try:
        file = os.stat(path, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    if not os.path.isfile(path) and folder is None:
        return False
    for number in os.listdir("/proc/self/fd"):
        try:
            held = os.stat(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if (held.st_dev, held.st_ino) == (file.st_dev, file.st_ino):
            return True
    with open_file("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        return folder is None and any(
            line.rstrip("\n").endswith(f" {os.path.abspath(os.fsdecode(path))}") for line in maps
        )


def check_name(path: Any) -> None:
    for part in () if isinstance(path, int) else Path(os.fsdecode(path)).parts[1:]:
        if NOT_IN_NAMES.search(part.rstrip("/")) or RESERVED.fullmatch(part):
            raise OSError(errno.EINVAL, "no name on Windows", path)


def refusing(function: Callable[..., Any], folders: tuple[str, ...]) -> Callable[..., Any]:
    def call(*paths: Any, **named: Any) -> Any:
        for path, folder in zip(paths, folders, strict=True):
            if is_held(path, named.get(folder)):
                raise PermissionError(errno.EACCES, "the file is used by a process", path)
        check_name(paths[-1])
        return function(*paths, **named)

    return call


def opening(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
    if not set(mode).isdisjoint("wxa"):
        check_name(file)
    return open_file(file, mode, *rest, **named)


def opening_number(path: Any, flags: int, *rest: Any, **named: Any) -> int:
    if "dir_fd" not in named and not flags & os.O_DIRECTORY and os.path.isdir(path):
        raise PermissionError(errno.EACCES, "a folder cannot be opened", path)
    return open_number(path, flags, *rest, **named)


def killing(process: int, number: int) -> None:
    if number == 0 and sys._getframe(1).f_globals.get("__name__") not in OF_THE_SYSTEM:
        raise SystemExit("os.kill(process, 0) sends Ctrl-C to all that share the console")
    kill(process, number)


def making(path: Any, *rest: Any, **named: Any) -> None:
    check_name(path)
    make_folder(path, *rest, **named)


builtins.__import__ = importing
builtins.open = io.open = opening
os.open, os.kill, os.mkdir = opening_number, killing, making
os.unlink, os.remove = (refusing(each, ("dir_fd",)) for each in (os.unlink, os.remove))
os.rename, os.replace = (refusing(each, ("src_dir_fd", "dst_dir_fd")) for each in (os.rename, os.replace))
