from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from dlcpose.exporters.pose_tables import write_tables
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.skeleton import Skeleton
from tests.structures.made_up_tracks import made_up_tracks


def many_keypoints(count: int) -> PoseTracks:
    """One frame of one animal with so many keypoints."""
    tracks = made_up_tracks(frames=1, animals=1)
    return replace(
        tracks,
        skeleton=Skeleton(tuple(f"keypoint number {number}" for number in range(count))),
        keypoints_in_image=np.ones((1, 1, count, 2), np.float32),
        keypoint_scores=np.ones((1, 1, count), np.float32),
    )


@pytest.mark.parametrize(
    ("animals", "unique", "is_tracked", "name", "levels"),
    [
        (1, (), True, "cageDLC_dlcpose", ["scorer", "bodyparts", "coords"]),
        (1, (), False, "cageDLC_dlcpose", ["scorer", "bodyparts", "coords"]),
        (2, (), False, "cageDLC_dlcpose", ["scorer", "individuals", "bodyparts", "coords"]),
        (2, (), True, "cageDLC_dlcpose_el", ["scorer", "individuals", "bodyparts", "coords"]),
        (1, ("corner",), True, "cageDLC_dlcpose_el", ["scorer", "individuals", "bodyparts", "coords"]),
    ],
)
def test_file_and_head_are_as_deeplabcut_makes_them(
    animals: int, unique: tuple[str, ...], is_tracked: bool, name: str, levels: list[str], tmp_path: Path
) -> None:
    tracks = made_up_tracks(animals=animals, unique=unique, is_tracked=is_tracked)
    h5, csv = write_tables(tracks, tmp_path, formats=["deeplabcut", "deeplabcut_csv"])
    assert (h5.name, csv.name) == (f"{name}.h5", f"{name}.csv")
    table = pd.read_hdf(h5)
    assert list(table.columns.names) == levels
    assert [line.split(",")[0] for line in csv.read_text().splitlines()[: len(levels)]] == levels
    assert table.columns.get_level_values("coords")[:3].tolist() == ["x", "y", "likelihood"]
    if unique:
        assert table.columns[-3:].droplevel("scorer").tolist() == [
            ("single", "corner", coord) for coord in ("x", "y", "likelihood")
        ]


def test_the_file_holds_one_key_as_a_table(tmp_path: Path) -> None:
    (path,) = write_tables(made_up_tracks(), tmp_path, formats=["deeplabcut"])
    with h5py.File(path) as file:
        assert list(file) == ["df_with_missing"]
        attributes = file["df_with_missing"].attrs
        assert attributes["pandas_type"] == b"frame_table"
        # pandas 1 and 2 read the layout's age off this (io/pytables.py, GenericFixed.infer_axes and Table.version), and
        # raise an AttributeError where it is missing, as it is in tables that pandas 3 writes.
        assert attributes["pandas_version"] == b"0.15.2"


def test_more_columns_than_can_be_named_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    assert write_tables(many_keypoints(400), tmp_path / "fits", formats=["deeplabcut"])
    with pytest.raises(DataError, match="64 KB"):
        write_tables(many_keypoints(4000), tmp_path / "too many", formats=["deeplabcut"])
    assert not (tmp_path / "too many").exists()


def test_an_individual_called_single_is_refused_beside_unique_keypoints(tmp_path: Path) -> None:
    tracks = replace(made_up_tracks(unique=("corner",)), individuals=("single", "other"))
    with pytest.raises(DataError, match="'single'"):
        write_tables(tracks, tmp_path, formats=["deeplabcut"])
