"""Predictions of DeepLabCut, written by pandas as DeepLabCut does, are read as pandas has them."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from dlcpose.importers.pose_formats import ForeignPoses, read_foreign_poses
from dlcpose.structures.errors import DataError
from tests.importers.foreign_tables import BODYPARTS, SCORER, deeplabcut_table, saved

SEVERAL = ("mouse1", "mouse2")


def read(path: Path, is_tracked: bool | None = None) -> ForeignPoses:
    (poses,) = read_foreign_poses(path, is_tracked=is_tracked)
    return poses


@pytest.mark.parametrize("ending", [".h5", ".csv"])
@pytest.mark.parametrize("individuals", [None, ("mouse1",), SEVERAL])
@pytest.mark.parametrize("unique", [(), ("corner1", "corner2")])
def test_the_table_is_read_as_pandas_has_it(
    ending: str, individuals: tuple[str, ...] | None, unique: tuple[str, ...], tmp_path: Path
) -> None:
    if individuals is None and unique:
        pytest.skip("a table of a single animal has no place for unique keypoints")
    table = deeplabcut_table(range(7), individuals, unique)
    poses = read(saved(table, tmp_path / f"cage.1{SCORER}{ending}"))
    assert (poses.program, poses.scorer, poses.video) == ("DeepLabCut", SCORER, "cage.1")
    assert poses.skeleton.names == BODYPARTS
    assert poses.skeleton.pairs == ((1, 2),)
    assert poses.skeleton.unique == unique
    assert poses.individuals == (individuals or ("animal1",))
    assert poses.frames.tolist() == list(range(7))
    for column, individual in enumerate(individuals or [None]):
        for place, name in enumerate(BODYPARTS):
            own = table[SCORER][name] if individual is None else table[SCORER][individual][name]
            np.testing.assert_allclose(poses.points[:, column, place], own[["x", "y"]], rtol=1e-12)
            np.testing.assert_allclose(poses.scores[:, column, place], own["likelihood"], rtol=1e-12)
    for place, name in enumerate(unique):
        np.testing.assert_allclose(poses.unique[:, place], table[SCORER]["single"][name][["x", "y"]], rtol=1e-12)
        np.testing.assert_allclose(poses.unique_scores[:, place], table[SCORER]["single"][name]["likelihood"])


@pytest.mark.parametrize("layout", ["fixed", "table"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_any_layout_of_pandas_is_read(layout: str, dtype: type, tmp_path: Path) -> None:
    table = deeplabcut_table(range(5), SEVERAL).astype(dtype)
    table.to_hdf(tmp_path / "a.h5", key="df_with_missing", format=layout, mode="w")
    poses = read(tmp_path / "a.h5")
    np.testing.assert_array_equal(poses.points[:, 1, 2, 0], table[SCORER, "mouse2", "right ear", "x"])


@pytest.mark.parametrize(
    ("name", "key", "individuals", "tracked"),
    [
        (f"cage{SCORER}.h5", "df_with_missing", SEVERAL, False),
        (f"cage{SCORER}_filtered.h5", "df_with_missing", SEVERAL, False),
        (f"cage{SCORER}_el.h5", "tracks", SEVERAL, True),
        (f"cage{SCORER}_el.h5", "df_with_missing", SEVERAL, True),
        (f"cage{SCORER}_sk_filtered.h5", "df_with_missing", SEVERAL, True),
        (f"cage{SCORER}_bx.csv", "", SEVERAL, True),
        (f"cage{SCORER}_ctd.csv", "", SEVERAL, True),
        (f"cage{SCORER}.h5", "tracks", SEVERAL, True),  # of stitching, renamed
        (f"cage{SCORER}.csv", "", None, True),
        (f"cage{SCORER}.csv", "", ("mouse1",), True),
    ],
)
def test_the_name_tells_the_video_and_whether_animals_are_tracked(
    name: str, key: str, individuals: tuple[str, ...] | None, tracked: bool, tmp_path: Path
) -> None:
    path = saved(deeplabcut_table(range(3), individuals), tmp_path / name, key)
    assert (read(path).video, read(path).is_tracked) == ("cage", tracked)
    assert read(path, is_tracked=not tracked).is_tracked is not tracked


def test_a_renamed_table_has_the_name_of_its_video(tmp_path: Path) -> None:
    assert read(saved(deeplabcut_table(range(3)), tmp_path / "cage.csv")).video == "cage"


@pytest.mark.parametrize("ending", [".h5", ".csv"])
def test_missing_keypoints_are_those_without_a_place_or_with_a_likelihood_below_0(ending: str, tmp_path: Path) -> None:
    table = deeplabcut_table(range(3), SEVERAL).sort_index(axis=1)
    table.loc[0, (SCORER, "mouse1")] = -1.0  # as DeepLabCut's untracked tables have absent animals
    table.loc[1, (SCORER, "mouse1", "nose")] = [-1.0, -17.0, -33.0]  # the same, moved by the padding of the image
    table.loc[1, (SCORER, "mouse2", "nose")] = np.nan  # as its tracked ones
    table.loc[2, (SCORER, "mouse2", "nose", "y")] = np.nan
    table.loc[2, (SCORER, "mouse1", "nose")] = [0.4, -2.0, 3.0]  # outside the frame, but found
    poses = read(saved(table, tmp_path / f"a{ending}"))
    is_missing = np.isnan(poses.points).any(axis=-1)
    assert is_missing[0].tolist() == [[True] * 3, [False] * 3]
    assert is_missing[1:, :, poses.skeleton.names.index("nose")].tolist() == [[True, True], [False, True]]
    assert is_missing.sum() == 6


@pytest.mark.parametrize("ending", [".h5", ".csv"])
def test_rows_are_frames_by_their_number(ending: str, tmp_path: Path) -> None:
    table = deeplabcut_table([8, 3, 4])
    poses = read(saved(table, tmp_path / f"a{ending}"))
    assert poses.frames.tolist() == [3, 4, 8]
    np.testing.assert_allclose(poses.points[:, 0, 0, 0], table[SCORER]["nose"]["x"].sort_index())


def test_a_csv_whose_first_frame_is_empty_keeps_it(tmp_path: Path) -> None:
    table = deeplabcut_table(range(3))
    table.loc[0] = np.nan
    assert read(saved(table, tmp_path / "a.csv")).frames.tolist() == [0, 1, 2]


def test_a_table_without_likelihood_has_full_scores_and_says_so(tmp_path: Path) -> None:
    table = deeplabcut_table(range(3), SEVERAL)
    poses = read(saved(table.drop(columns="likelihood", level="coords"), tmp_path / "a.h5"))
    assert (poses.scores == 1).all()
    assert "no likelihood" in poses.notes[0]


def test_other_columns_are_named_as_left_out(tmp_path: Path) -> None:
    table = deeplabcut_table(range(3))
    table[SCORER, "nose", "x_posterior_var"] = 1.0
    assert read(saved(table, tmp_path / "a.csv")).notes == ("columns x_posterior_var are left out",)


def test_tracks_of_a_real_video(shared_data: Path) -> None:
    path = shared_data / "flypair13-SLEAP-2024-12-20" / "tracks" / "clip_tracks.h5"
    table, poses = pd.read_hdf(path), read(path)
    np.testing.assert_array_equal(poses.points[:, 0, 0, 1], table["SLEAP", "male", "head", "y"])
    assert poses.individuals == tuple(table.columns.unique("individuals"))


def labels(path: Path) -> None:
    table = deeplabcut_table(range(2)).drop(columns="likelihood", level="coords")
    table.index = ["labeled-data/cage/img0.png", "labeled-data/cage/img1.png"]
    saved(table, path)


def machine_labels(path: Path) -> None:
    table = deeplabcut_table(range(2))
    table.index = ["labeled-data/cage/img0.png", "labeled-data/cage/img1.png"]
    saved(table, path)


def repeated(path: Path) -> None:
    saved(deeplabcut_table([0, 1, 1, 2]), path)


def not_whole(path: Path) -> None:
    table = deeplabcut_table(range(2))
    table.index = table.index + 0.5
    saved(table, path)


def negative(path: Path) -> None:
    saved(deeplabcut_table([-1, 0]), path)


def empty(path: Path) -> None:
    saved(deeplabcut_table(range(1)).iloc[:0], path)


def of_two_scorers(path: Path) -> None:
    one, other = deeplabcut_table(range(2)), deeplabcut_table(range(2), scorer="other")
    saved(pd.concat([one, other], axis=1), path)


def twice_a_column(path: Path) -> None:
    table = deeplabcut_table(range(2))
    saved(pd.concat([table, table.iloc[:, 2:3]], axis=1), path)


def in_space(path: Path) -> None:
    table = deeplabcut_table(range(2))
    table[SCORER, "nose", "z"] = 1.0
    saved(table, path)


def without_y(path: Path) -> None:
    saved(deeplabcut_table(range(2)).drop(columns=[(SCORER, "nose", "y")]), path)


def unlike_animals(path: Path) -> None:
    table = deeplabcut_table(range(2), SEVERAL)
    saved(table.drop(columns=[(SCORER, "mouse2", "nose", coord) for coord in ("x", "y", "likelihood")]), path)


def infinite(path: Path) -> None:
    table = deeplabcut_table(range(2))
    table.iloc[1, 0] = np.inf
    saved(table, path)


WRONG = [
    (labels, r"got labels \(a row 'labeled-data/cage/img0.png'\).*dlcpose convert"),
    (machine_labels, r"single images \(a row 'labeled-data"),
    (repeated, "expected each frame once, got 1 2 times"),
    (not_whole, r"numbers of frames, 0, 1, 2, \.\.\., got '0\.5'"),
    (negative, r"numbers of frames, 0, 1, 2, \.\.\., got '-1'"),
    (empty, "expected a row for each frame, got none|got something else"),  # pandas writes no table then
    (of_two_scorers, "of one scorer, got those of"),
    (twice_a_column, "each column once, got nose likelihood more than once"),
    (in_space, r"poses in space \(x, y, z\)"),
    (without_y, "expected a column y of nose, got none"),
    (unlike_animals, "body parts .* of each individual, got .* of 'mouse2'"),
    (infinite, "nose x in 1: inf is no place in an image"),
]


@pytest.mark.parametrize("ending", [".h5", ".csv"])
@pytest.mark.parametrize(("write", "says"), WRONG, ids=[write.__name__ for write, _ in WRONG])
def test_what_is_no_table_of_predictions_is_refused_in_one_line(
    write: object, says: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{ending}"
    write(path)
    with pytest.raises(DataError, match=says) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_tables_in_one_file_are_refused(tmp_path: Path) -> None:
    path = saved(deeplabcut_table(range(2)), tmp_path / "a.h5")
    deeplabcut_table(range(2)).to_hdf(path, key="tracks", format="table", mode="a")
    with pytest.raises(DataError, match="expected one table, got df_with_missing, tracks"):
        read(path)


@pytest.mark.parametrize("ending", [".h5", ".csv"])
def test_names_that_no_table_can_hold_are_refused(ending: str, tmp_path: Path) -> None:
    table = deeplabcut_table(range(2))
    table.columns = table.columns.set_levels(
        ["no\0se", "left ear", "right ear"], level="bodyparts", verify_integrity=False
    )
    with pytest.raises(DataError, match=r"plain characters|NUL"):
        read(saved(table, tmp_path / f"a{ending}"))


@pytest.mark.parametrize("ending", [".h5", ".csv"])
def test_a_truncated_table_is_refused(ending: str, tmp_path: Path) -> None:
    path = saved(deeplabcut_table(range(200), SEVERAL), tmp_path / f"a{ending}")
    content = path.read_bytes()
    for share in (0.02, 0.3, 0.7, 0.99):
        cut = content[: int(share * len(content))]
        path.write_bytes(cut[: cut.rindex(b",")] if ending == ".csv" else cut)
        with pytest.raises(DataError) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_an_h5_that_says_it_is_huge_takes_no_memory(tmp_path: Path) -> None:
    path = saved(deeplabcut_table(range(2)), tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        table = file["df_with_missing/table"]
        dtype, attributes = table.dtype, dict(table.attrs)
        del file["df_with_missing/table"]
        made = file.create_dataset("df_with_missing/table", (10**12,), dtype, chunks=(10**6,))
        made.attrs.update(attributes)
    with pytest.raises(DataError, match="more than"):
        read(path)
