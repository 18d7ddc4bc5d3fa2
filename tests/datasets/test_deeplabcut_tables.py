import contextlib
import logging
import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tables
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.datasets.deeplabcut_tables import LabelTable, read_csv, read_h5, read_table
from dlcpose.structures.errors import DataError
from tests.datasets.dlc_projects import labels, multi_columns, single_columns, ten_frames
from tests.datasets.test_restricted_pickle import Calls

UPSTREAM = ("openfield-Pranav-2018-10-30", "Reaching-Mackenzie-2018-08-30")  # pandas' table layout, flat index
CONVERTED = ("flypair24-SLEAP-2024-12-20", "flypair13-SLEAP-2024-12-20", "rodentpair15-SLEAP-2024-12-17")  # fixed


def assert_equal_frame(table: LabelTable, frame: pd.DataFrame) -> None:
    """A table says what a frame of pandas says, whatever the order of its columns."""
    rows = ["/".join(place) if isinstance(place, tuple) else place for place in frame.index]
    assert list(table.rows) == [row.replace("\\", "/") for row in rows]
    has_individuals = frame.columns.nlevels == 4
    assert len(table.columns) == frame.shape[1]
    for place, (individual, bodypart, xy) in enumerate(table.columns):
        scorer = frame.columns[0][0]
        column = (scorer, individual, bodypart, xy) if has_individuals else (scorer, bodypart, xy)
        np.testing.assert_array_equal(table.values[:, place], frame[column].to_numpy())


@pytest.mark.parametrize("project", UPSTREAM + CONVERTED)
def test_real_files_are_read_as_pandas_reads_them(shared_data: Path, project: str) -> None:
    for h5 in sorted((shared_data / project).glob("labeled-data/*/*.h5")):
        frame = pd.read_hdf(h5)
        assert isinstance(frame, pd.DataFrame)
        assert_equal_frame(read_h5(h5), frame)
        levels = frame.columns.nlevels
        from_csv = pd.read_csv(
            h5.with_suffix(".csv"),
            header=list(range(levels)),
            index_col=list(range(frame.index.nlevels)),
            float_precision="round_trip",  # else pandas 2 is off by the last digit
        )
        assert_equal_frame(read_csv(h5.with_suffix(".csv")), from_csv)


@pytest.mark.parametrize("project", UPSTREAM + CONVERTED)
def test_real_csv_and_h5_agree(shared_data: Path, project: str) -> None:
    for h5 in sorted((shared_data / project).glob("labeled-data/*/*.h5")):
        ours, theirs = read_h5(h5), read_csv(h5.with_suffix(".csv"))
        assert (ours.columns, ours.rows) == (theirs.columns, theirs.rows)
        np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-15)


@given(
    st.data(),
    st.sampled_from([single_columns(), single_columns(("Nase ü", "tail, end", "3")), multi_columns()]),
    st.sampled_from(["flat", "backslash", "three"]),
    st.sampled_from(["fixed", "table", "csv"]),
)
def test_what_pandas_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, columns: pd.MultiIndex, index: str, layout: str
) -> None:
    numbers = st.floats(-1e4, 1e4) | st.just(np.nan)
    count = data.draw(st.integers(1, 3))
    values = [[data.draw(numbers) for _ in columns] for _ in range(count)]
    frame = labels("cage", values, columns)
    if index != "three" or layout == "table":  # pandas has no table layout for both axes of several levels
        frame.index = pd.Index([("\\" if index == "backslash" else "/").join(place) for place in frame.index])
    path = tmp_path_factory.mktemp("table") / "CollectedData_Ada"
    if layout == "csv":
        frame.to_csv(path.with_suffix(".csv"))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names with spaces are no Python identifiers
            frame.to_hdf(path.with_suffix(".h5"), key="df_with_missing", mode="w", format=layout)
    assert_equal_frame(read_table(path.parent, path.name), frame)


def test_integers_in_a_column_of_their_own(tmp_path: Path) -> None:
    frame = ten_frames()
    frame[("Ada", "nose", "x")] = range(10)  # pandas keeps them as a block beside the others
    frame.to_hdf(tmp_path / "L.h5", key="df_with_missing", mode="w")
    assert_equal_frame(read_h5(tmp_path / "L.h5"), frame)


def test_likelihoods_are_dropped(tmp_path: Path) -> None:
    frame = labels("cage", np.arange(6.0).reshape(1, 6), single_columns(coords=("x", "y", "likelihood")))
    frame.to_csv(tmp_path / "L.csv")
    table = read_csv(tmp_path / "L.csv")
    assert {xy for _, _, xy in table.columns} == {"x", "y"}
    assert table.values.tolist() == [[0, 1, 3, 4]]


def test_names_of_the_index_are_no_row(tmp_path: Path) -> None:
    frame = ten_frames()
    frame.index.names = ["folder", "video", "image"]
    frame.to_csv(tmp_path / "L.csv")
    assert len(read_csv(tmp_path / "L.csv").rows) == 10


def test_the_samples_of_all_csv_layouts(shared_data: Path) -> None:
    """Ragged rows stand in them too: a short row is missing at its end."""
    folder = shared_data / "format-samples" / "dlc-csv" / "labeled-data" / "video"
    for name in ("dlc_testdata", "madlc_testdata", "maudlc_testdata"):
        flat, three = (read_csv(folder / f"{name}{version}.csv") for version in ("", "_v2"))
        assert (flat.columns, flat.rows) == (three.columns, three.rows)
        np.testing.assert_array_equal(flat.values, three.values)
        assert flat.rows == tuple(f"labeled-data/video/img{number:03d}.png" for number in range(4))
        assert np.isnan(flat.values[2]).all()
    assert flat.columns[-1] == ("single", "E", "y")
    np.testing.assert_array_equal(flat.values[3], [26, 27, 28, 29, 30, 31, *[np.nan] * 6, 32, 33, 34, 35])


# --- strangers' files -------------------------------------------------------------------------------------------------


def bomb(folder: Path) -> bytes:
    return pickle.dumps(Calls(os.mkdir, str(folder)), 0)


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    ten_frames().to_hdf(tmp_path / "CollectedData_Ada.h5", key="df_with_missing", mode="w")
    return tmp_path / "CollectedData_Ada.h5"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    frame = ten_frames()
    frame.index = pd.Index(["/".join(place) for place in frame.index])
    frame.to_hdf(tmp_path / "CollectedData_Ada.h5", key="df_with_missing", mode="w", format="table")
    return tmp_path / "CollectedData_Ada.h5"


@pytest.mark.parametrize(
    ("node", "attribute"),
    [
        ("/", "TITLE"),
        ("/df_with_missing", "encoding"),
        ("/df_with_missing", "anything"),
        ("/df_with_missing/axis1_level0", "name"),
    ],
)
def test_a_pickle_in_an_attribute_is_never_read(fixed: Path, node: str, attribute: str) -> None:
    exploded = fixed.parent / "exploded"
    with h5py.File(fixed, "a") as file:
        file[node].attrs[attribute] = np.bytes_(bomb(exploded))
    assert len(read_h5(fixed).rows) == 10
    assert not exploded.exists()


def test_pytables_would_have_run_it(fixed: Path) -> None:
    """Why the h5 is not read with pandas: opening it and looking at a node is enough."""
    exploded = fixed.parent / "exploded"
    with h5py.File(fixed, "a") as file:
        file["df_with_missing"].attrs["pandas_type"] = np.bytes_(bomb(exploded))
    with contextlib.suppress(Exception):
        pd.read_hdf(fixed)
    assert exploded.exists()


def test_column_names_that_run_something_are_refused(table: Path) -> None:
    exploded = table.parent / "exploded"
    with h5py.File(table, "a") as file:
        file["df_with_missing/table"].attrs["values_block_0_kind"] = np.bytes_(bomb(exploded))
    with pytest.raises(
        DataError, match=r"CollectedData_Ada\.h5: .*names .*mkdir.*Export the labels as CollectedData_Ada\.csv"
    ):
        read_table(table.parent, table.stem)
    assert not exploded.exists()


def test_objects_are_refused_and_the_csv_beside_them_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, exploded = tmp_path / "CollectedData_Ada.h5", tmp_path / "exploded"
    with tables.open_file(path, "w") as file:
        group = file.create_group("/", "df_with_missing")
        file.create_vlarray(group, "axis1", tables.ObjectAtom()).append(Calls(os.mkdir, str(exploded)))
        file.create_array(group, "block0_values", np.zeros((1, 1)))
    with pytest.raises(DataError, match=r"axis1 holds Python objects, which cannot be read safely.*Export the labels"):
        read_table(tmp_path, "CollectedData_Ada")
    ten_frames().to_csv(tmp_path / "CollectedData_Ada.csv")
    with caplog.at_level(logging.WARNING):
        assert len(read_table(tmp_path, "CollectedData_Ada").rows) == 10
    assert "CollectedData_Ada.csv is read instead" in caplog.text
    assert not exploded.exists()


@pytest.mark.parametrize("content", [b"", b"not h5", None])
def test_other_files_are_an_error_of_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "L.h5"
    if content is None:
        h5py.File(path, "w").close()
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"L\.h5: expected a table written by pandas") as caught:
        read_h5(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("bodyparts", "parts"), "expected header rows scorer, bodyparts and coords"),
        (lambda text: text.replace(",", ";"), "expected header rows .* separated by commas"),
        (
            lambda text: text.replace("17.0", "seventeen"),
            r"expected a number for nose y in labeled-data/cage/img0004\.png, got 'seventeen'",
        ),
        (lambda text: text.replace("17.0", "1_7"), r"expected a number for nose y .* got '1_7'"),
        (lambda text: text.replace(",17.0,", ",17.0,5,"), r"img0004\.png has more than the 4 columns named"),
        (lambda text: text.replace("coords,,,x,y,x,y", "coords,,,x,y,x"), "expected header rows of one length"),
        (
            lambda text: text.replace("coords,,,x,y,x,y", "coords,,,x,y,x,x"),
            "expected each column once, got tail x more than",
        ),
    ],
)
def test_errors_in_a_csv_say_where(tmp_path: Path, change: Any, message: str) -> None:
    ten_frames().to_csv(tmp_path / "L.csv")
    text = (tmp_path / "L.csv").read_text()
    assert change(text) != text
    (tmp_path / "L.csv").write_text(change(text))
    with pytest.raises(DataError, match=message):
        read_csv(tmp_path / "L.csv")


def test_a_h5_that_is_only_a_pointer_to_elsewhere(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / UPSTREAM[0] / "labeled-data" / "m4s1"
    shutil.copy(source / "CollectedData_Pranav.csv", tmp_path)
    (tmp_path / "CollectedData_Pranav.h5").write_text("version https://git-lfs.github.com/spec/v1")
    assert len(read_table(tmp_path, "CollectedData_Pranav").rows) == 116


# --- an h5 of somebody else's -----------------------------------------------------------------------------------------


def test_a_file_of_two_frames_is_refused_with_both_names(tmp_path: Path) -> None:
    for key in ("df_with_missing", "corrected"):
        ten_frames().to_hdf(tmp_path / "a.h5", key=key)
    with pytest.raises(DataError, match=r"a\.h5.*corrected, df_with_missing"):
        read_h5(tmp_path / "a.h5")


def _external(file: h5py.File) -> None:
    del file["df_with_missing/block0_values"]
    file["df_with_missing/block0_values"] = h5py.ExternalLink("/etc/passwd", "/x")


def _external_storage(file: h5py.File) -> None:
    del file["df_with_missing/block0_values"]
    file.create_dataset("df_with_missing/block0_values", (10, 4), "f8", external=[("/etc/passwd", 0, 320)])


def _declared(file: h5py.File) -> None:
    del file["df_with_missing/block0_values"]
    file.create_dataset("df_with_missing/block0_values", (10**6, 10**4), "f8", chunks=(10, 10), compression="gzip")


def _soft(file: h5py.File) -> None:
    file.move("df_with_missing/block0_values", "values")
    file["df_with_missing/block0_values"] = h5py.SoftLink("/values")


@pytest.mark.parametrize("corrupt", [_external, _external_storage, _declared, _soft])
def test_h5_with_external_content_is_refused(tmp_path: Path, corrupt: Any) -> None:
    ten_frames().to_hdf(tmp_path / "a.h5", key="df_with_missing")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        corrupt(file)
    with pytest.raises(DataError, match=r"a\.h5") as caught:
        read_h5(tmp_path / "a.h5")
    assert "root:" not in str(caught.value)


def test_a_pipe_among_the_labels_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "CollectedData_Ada.csv")
    with pytest.raises(DataError, match="a pipe"):
        read_table(tmp_path, "CollectedData_Ada")
    os.mkfifo(tmp_path / "CollectedData_Ada.h5")
    with pytest.raises(DataError, match="a pipe"):
        read_table(tmp_path, "CollectedData_Ada")


def test_an_array_in_the_place_of_a_frame_is_not_gone_through(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("df_with_missing", (2**40,), h5py.string_dtype(), chunks=(1024,))
    with pytest.raises(DataError, match="got an array"):
        read_h5(tmp_path / "a.h5")
