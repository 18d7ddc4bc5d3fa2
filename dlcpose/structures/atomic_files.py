"""Write files and folders atomically: under their name lies the old content or the whole new one, never a part."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlcpose.structures.errors import DataError

PARTIAL = ".*.partial*"  # glob of the temporaries that a killed process leaves behind


def write_atomic(path: Path, content: bytes | memoryview | str) -> None:
    """Write `content` (text as UTF-8) to `path` atomically. Raises OSError, naming `path`, where that fails."""
    with atomic_path(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_output(path: Path, content: bytes | memoryview | str) -> None:
    """The same for a file that the user asked for: raises DataError where it cannot be written.

    HDF5 does not always report a full disk, and may crash when it closes such a file: libraries that build HDF5 files
    build them in memory where they can, and the bytes are written here.
    """
    with atomic_output(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """`atomic_path` for a file that the user asked for: raises DataError, in one line, where it cannot be written."""
    try:
        with atomic_path(path) as partial:
            yield partial
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise DataError(
            f"{path}: cannot be written ({reason}). Check the disk's room and the folder's permissions."
        ) from error


def check_new_folder(folder: Path) -> None:
    """Raises DataError when `folder` is there already and is not empty."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder}: expected a new or empty folder to write into. Name another or empty it first.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which takes the name `path` once the block ends and is removed if it fails.

    It lies in the same folder, which is made where it is missing, and has the same suffix. What was written is flushed to
    the disk before the rename, else a power cut could leave the new name on an empty file.
    Raises OSError, naming `path`, where the file cannot be written; what was there before stays.
    """
    partial = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(partial), partial):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def atomic_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder to write into, which takes the name `folder` once the block ends and is removed if it fails.

    replace: put it in the place of a folder that is there, which is away for no longer than a rename takes.
    Raises DataError where `folder` is there, is not empty and is not to be replaced.
    """
    if not replace:
        check_new_folder(folder)
    folder = folder.absolute()
    partial = _beside(folder)
    try:
        partial.mkdir(parents=True)
        yield partial
        _take_name(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}.{secrets.token_hex(4)}.partial{path.suffix}")


def _take_name(fresh: Path, folder: Path) -> None:
    old = _beside(folder)
    if folder.exists():
        folder.rename(old)  # a rename onto a folder is refused on Windows, and where it is not empty
    try:
        fresh.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
