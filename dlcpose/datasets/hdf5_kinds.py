"""Tell of what program an HDF5 file is, by the names at its top."""

from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import h5py  # type: ignore[import-untyped]

MAX_NAMES = 100  # of arrays and groups that are looked at


class TopLevel(NamedTuple):
    """What an HDF5 file has at its top. names: its own, no links to elsewhere. has_pandas: a table of pandas among them."""

    names: frozenset[str] = frozenset()
    has_pandas: bool = False

    @property
    def is_sleap_project(self) -> bool:
        """Whether it is a project of SLEAP (.slp)."""
        return self.names >= {"frames", "instances", "metadata"}

    @property
    def is_sleap_analysis(self) -> bool:
        """Whether it is an analysis file of SLEAP."""
        return self.names >= {"tracks", "track_occupancy"}

    @property
    def is_movement(self) -> bool:
        """Whether it is a poses dataset of movement."""
        return self.names >= {"position", "confidence", "time", "space"}


def top_level_of(path: Path) -> TopLevel:
    """The top of a file; an empty one of what is no HDF5 file, or a damaged one."""
    try:
        with h5py.File(path, "r") as file:
            return top_level(file)
    except Exception:  # a damaged file can make the library raise anything
        return TopLevel()


def top_level(file: Any) -> TopLevel:
    """The top of an open file."""
    names = [name for name in islice(file, MAX_NAMES) if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    return TopLevel(frozenset(names), any("pandas_type" in file[name].attrs for name in names))
