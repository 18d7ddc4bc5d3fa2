"""Tables as pandas keeps them in HDF5 (PyTables), which DeepLabCut reads."""

import secrets
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd


def pandas_hdf5(
    table: pd.DataFrame,
    key: str,
    *,
    layout: Literal["fixed", "table"] = "fixed",
    attributes: Mapping[str, str] | None = None,
) -> bytes:
    """The content of an HDF5 file with one table. layout: pandas' name of it. attributes: added to the table's own.

    It is built in memory, under no path: PyTables takes no name that the locale cannot encode, and HDF5 may crash where
    a disk is full. Raises what PyTables raises, such as HDF5ExtError for more columns than it has room to name.
    """
    in_memory: dict[str, Any] = {"driver": "H5FD_CORE", "driver_core_backing_store": 0}
    file: Any = pd.HDFStore(f"{secrets.token_hex(8)}.h5", mode="w", **in_memory)
    with file as store:
        store.put(key, table, format=layout, track_times=False)
        written = store.get_storer(key).attrs
        # pandas 3 leaves this mark out; pandas 1 and 2, which DeepLabCut and SimBA need, read no table without it.
        written.pandas_version = "0.15.2"
        for name, value in (attributes or {}).items():
            setattr(written, name, value)
        store.flush()
        content: bytes = store._handle.get_file_image()
    return content
