"""Our own long tables read again, and those that are damaged refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dlcpose.exporters.parquet_table import METADATA
from dlcpose.exporters.pose_tables import write_tables
from dlcpose.importers.pose_formats import read_foreign_poses
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from tests.structures.made_up_tracks import made_up_tracks


@pytest.fixture(scope="module")
def tracks() -> PoseTracks:
    return made_up_tracks(frames=5, unique=("door",))


@pytest.fixture
def csv(tracks: PoseTracks, tmp_path: Path) -> Path:
    return write_tables(tracks, tmp_path, "cage", formats=["csv"])[0]


@pytest.fixture
def parquet(tracks: PoseTracks, tmp_path: Path) -> Path:
    return write_tables(tracks, tmp_path, "cage", formats=["parquet"])[0]


def test_a_parquet_file_tells_all_that_it_was_given(tracks: PoseTracks, parquet: Path) -> None:
    (poses,) = read_foreign_poses(parquet)
    assert poses.skeleton == tracks.skeleton
    assert (poses.video, poses.size) == ("cage.mp4", (48, 64))
    assert (poses.individuals, poses.is_tracked) == (tracks.individuals, True)
    assert poses.notes == ()


def test_a_csv_says_that_it_does_not_tell_tracks(csv: Path) -> None:
    (poses,) = read_foreign_poses(csv)
    assert not poses.is_tracked
    assert "--tracked" in poses.notes[0]
    (poses,) = read_foreign_poses(csv, is_tracked=True)
    assert (poses.is_tracked, poses.notes) == (True, ())


def test_rows_in_any_order_and_more_columns_are_read(tracks: PoseTracks, csv: Path) -> None:
    table = pd.read_csv(csv, keep_default_na=False).sample(frac=1, random_state=0)
    table.assign(mine=1)[["mine", *table.columns[::-1]]].to_csv(csv, index=False)
    (poses,) = read_foreign_poses(csv)
    columns = [poses.individuals.index(name) for name in tracks.individuals]
    keypoints = [poses.skeleton.names.index(name) for name in tracks.skeleton.names]
    np.testing.assert_array_equal(
        poses.points[:, columns][:, :, keypoints].astype(np.float32), tracks.keypoints_in_image
    )


def test_an_animal_may_be_called_na(csv: Path) -> None:
    csv.write_text(csv.read_text(encoding="utf-8").replace("animal1", "NA"), encoding="utf-8")
    (poses,) = read_foreign_poses(csv)
    assert poses.individuals == ("NA", "animal2")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[:-3], "cut off"),
        (
            lambda text: text[: text.rindex("\n", 0, -1) + 1],
            "one row for each keypoint of each animal in each frame, 45",
        ),
        (lambda text: text + text[text.rindex("\n", 0, -1) + 1 :], "45 rows, got 46, 45 of them unlike"),
        (lambda text: text.replace("animal2,tail", "animal2,tial", 1), "one row for each"),
        (lambda text: f"{text}5,0.2,animal1\n", "keypoint in every row, got 1 row without"),
        (lambda text: text.replace("\n0,", "\n0.5,", 1), "cannot be read"),
        (lambda text: text.replace("\n0,", "\n-1,"), "numbers of frames from 0"),
        (lambda text: text.replace("\n1,", "\n1,2,3,", 1), "cannot be read"),
        (lambda text: text[: text.index("\n") + 1], "rows of poses, got none"),
        (lambda text: text.replace("animal1", "").replace("animal2", ""), "one row for each keypoint"),
        (lambda text: "\n".join([line for line in text.split("\n") if "animal" not in line]), "at least one animal"),
    ],
)
def test_a_damaged_csv_is_refused_in_one_line(csv: Path, damage: Callable[[str], str], says: str) -> None:
    csv.write_text(damage(csv.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=says) as caught:
        read_foreign_poses(csv)
    assert str(caught.value).startswith(f"{csv}: ")
    assert "\n" not in str(caught.value)


def described(table: pa.Table, **changed: object) -> pa.Table:
    about = {**json.loads(table.schema.metadata[METADATA]), **changed}
    return table.replace_schema_metadata({METADATA: json.dumps(about).encode()})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda table: table.slice(1), "one row for each"),
        (lambda table: table.drop_columns(["score"]), "a column 'score' of numbers, .* got \\[\\]"),
        (
            lambda table: table.set_column(4, "x", pa.array(["a"] * len(table))),
            "a column 'x' of numbers, .* got \\['string'\\]",
        ),
        (lambda table: table.set_column(0, "frame", pa.nulls(len(table), pa.int64())), "a frame in every row"),
        (lambda table: table.replace_schema_metadata({METADATA: b"{"}), "expected json"),
        (lambda table: table.replace_schema_metadata({METADATA: b"[]"}), "names with values"),
        (lambda table: described(table, skeleton={"names": ["a"]}), "cannot be read"),
        (lambda table: described(table, skeleton=made_up_tracks().skeleton.as_dict()), "its metadata names"),
        (lambda table: described(table, video_height=-4), "video_height"),
        (lambda table: described(table, is_tracked="no"), "is_tracked"),
    ],
)
def test_a_damaged_parquet_file_is_refused_in_one_line(
    parquet: Path, damage: Callable[[pa.Table], pa.Table], says: str
) -> None:
    pq.write_table(damage(pq.read_table(parquet)), parquet)
    with pytest.raises(DataError, match=says) as caught:
        read_foreign_poses(parquet)
    assert str(caught.value).startswith(f"{parquet}: ")
    assert "\n" not in str(caught.value)


def test_a_small_file_of_many_rows_is_refused(parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcpose.importers.tidy_poses.MAX_ROWS", 15)
    monkeypatch.setattr("dlcpose.importers.tidy_poses.SHORT_ROW", parquet.stat().st_size)
    with pytest.raises(DataError, match=r"expected at most 15 rows in a file of \d+ bytes, got 45: .* Import the csv"):
        read_foreign_poses(parquet)
    monkeypatch.setattr("dlcpose.importers.tidy_poses.SHORT_ROW", 4)
    assert len(read_foreign_poses(parquet)[0].frames) == 5


def test_a_small_file_takes_no_more_than_a_gigabyte(parquet: Path) -> None:
    rows = 2**22 + 1
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["a"]))
    zeros = pa.array(np.zeros(rows, np.float32))
    columns = {"individual": names, "keypoint": names, "x": zeros, "y": zeros, "score": zeros}
    frames = pa.array(np.arange(rows))
    pq.write_table(
        pa.table({"frame": frames, **columns}),
        parquet,
        compression="zstd",
        column_encoding={"frame": "DELTA_BINARY_PACKED"},
        use_dictionary=["individual", "keypoint"],
    )
    assert parquet.stat().st_size < 1_000_000
    with pytest.raises(DataError, match=r"got 4194305: they would take 1\.0 GB of memory"):
        read_foreign_poses(parquet)


def test_a_small_file_with_long_texts_is_refused_before_they_are_read(
    parquet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pq.read_table(parquet)
    names = ["x" * 20_000_000, *table["individual"].to_pylist()[1:]]
    pq.write_table(table.set_column(2, "individual", pa.array(names)), parquet, compression="zstd")
    assert parquet.stat().st_size < 20_000
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"expected at most 1024 bytes a row, unpacked, got \d+ bytes in 45 rows\.$"):
        read_foreign_poses(parquet)


def test_a_text_that_many_rows_share_is_kept_once(parquet: Path) -> None:
    rows = 1_000_000
    once = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 100_000]))  # 100 GB
    zeros = pa.array(np.zeros(rows, np.int64))
    columns = {"frame": zeros, "individual": once, "keypoint": once, "x": zeros, "y": zeros, "score": zeros}
    pq.write_table(pa.table(columns), parquet, compression="zstd")
    with pytest.raises(DataError, match=r"one row for each keypoint .* got 1000000, 1 of them unlike") as caught:
        read_foreign_poses(parquet)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_texts_are_read_alike_however_a_file_keeps_them(tracks: PoseTracks, parquet: Path, kind: pa.DataType) -> None:
    (first,) = read_foreign_poses(parquet)
    table = pq.read_table(parquet)
    for name in ("individual", "keypoint"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].cast(pa.string()).cast(kind))
    pq.write_table(table, parquet, row_group_size=7, use_dictionary=False)
    (again,) = read_foreign_poses(parquet)
    assert (again.individuals, again.skeleton) == (first.individuals, first.skeleton)
    np.testing.assert_array_equal(again.points, first.points)
    np.testing.assert_array_equal(again.unique, first.unique)
