"""Folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlcpose.structures.errors import DataError


def check_new_folder(folder: Path) -> None:
    """Raises DataError when `folder` is there already and is not empty."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder}: expected a new or empty folder to write into. Name another or empty it first.")


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write into; it takes that name once the block ends, and is removed if it fails.

    Raises DataError when `folder` is there already and is not empty.
    """
    check_new_folder(folder)
    folder = folder.absolute()
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rmdir()  # empty: a rename onto it is refused on Windows
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
