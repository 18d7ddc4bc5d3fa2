"""Arrays of untrusted HDF5 files: read as they were written, whatever their layout, and not taken at their word."""

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from dlcpose.datasets.deeplabcut_tables import read_h5
from dlcpose.datasets.plain_hdf5 import plain_hdf5
from dlcpose.structures.errors import DataError

MANY = 250_000  # values; more than there may be chunks


def written(path: Path, **settings: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("values", **settings)
    return path


def read(path: Path) -> Any:
    with plain_hdf5(path, "a file of values") as file:
        return file.array("values")


@pytest.mark.parametrize(
    "settings",
    [
        {},  # one stretch of bytes, as SLEAP and pandas write
        {"chunks": (1000,)},
        {"chunks": True, "compression": "gzip", "compression_opts": 9, "shuffle": True},
        {"chunks": True, "compression": "lzf"},
    ],
)
@pytest.mark.parametrize("values", [np.arange(MANY, dtype=np.float64), np.zeros(MANY)], ids=["rising", "zeros"])
def test_a_large_array_is_read(tmp_path: Path, values: np.ndarray, settings: dict[str, Any]) -> None:
    np.testing.assert_array_equal(read(written(tmp_path / "a.h5", data=values, **settings)), values)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_an_array_of_little_is_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert read(written(tmp_path / "a.h5", data=np.zeros(shape))).shape == shape


@pytest.mark.parametrize("settings", [{}, {"chunks": (2**16,)}, {"chunks": (2**16,), "compression": "gzip"}])
def test_memory_is_not_taken_for_what_is_not_stored(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = written(tmp_path / "a.h5", shape=(2**27,), dtype=np.float64, **settings)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match=r"a\.h5.*values.*stores 0"):
        read(path)


@pytest.mark.parametrize("shape", [(1000,), (500, 2), (2, 5, 100), (0,), (0, 2), (3, 0)])
def test_texts_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    texts = np.array([f"text {number}" for number in range(int(np.prod(shape)))], object).reshape(shape)
    found = read(written(tmp_path / "a.h5", data=texts, dtype=h5py.string_dtype()))
    assert found.shape == shape
    assert [each.decode() for each in found.flat] == list(texts.flat)


@pytest.mark.parametrize("shape", [(200_000,), (2, 100_000)])
def test_one_long_text_in_thousands_of_places_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Texts lie elsewhere in a file: 1 MB was read as 200 GB."""
    count, path = int(np.prod(shape)), tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        one = file.create_dataset("one", shape=(1,), dtype=h5py.string_dtype(), chunks=(1,))
        one[0] = "a" * 1_000_000
        file.flush()
        _, place = one.id.read_direct_chunk((0,))
        many = file.create_dataset("values", shape, h5py.string_dtype(), chunks=shape, compression="gzip")
        many.id.write_direct_chunk((0,) * len(shape), zlib.compress(place * count))
    with pytest.raises(DataError, match=r"a\.h5.*values has texts of more than"):
        read(path)


def test_a_table_of_many_frames_and_animals_is_read(tmp_path: Path) -> None:
    columns = pd.MultiIndex.from_product(
        [["Ada"], [f"mouse{number}" for number in range(5)], [f"part{number}" for number in range(12)], ["x", "y"]],
        names=["scorer", "individuals", "bodyparts", "coords"],
    )
    index = pd.MultiIndex.from_product([["labeled-data"], ["cage"], [f"img{number:04d}.png" for number in range(1000)]])
    values = np.arange(len(index) * len(columns), dtype=np.float64).reshape(len(index), len(columns))
    pd.DataFrame(values, index=index, columns=columns).to_hdf(tmp_path / "a.h5", key="df_with_missing")
    np.testing.assert_array_equal(read_h5(tmp_path / "a.h5").values, values)
