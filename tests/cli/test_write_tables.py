"""`dlcpose tables`, by its own name."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import sleap_io

from dlcpose.exporters.formats import TableTarget, table_formats
from dlcpose.exporters.pose_tables import whole_poses
from dlcpose.exporters.readers import table_readers
from dlcpose.structures.errors import DataError
from tests.cli.test_app import dlcpose
from tests.shells import reason
from tests.structures.made_up_tracks import made_up_tracks

pose_file = pytest.importorskip("dlcpose.exporters.pose_file", reason="comes with the prediction of videos")


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    """Poses of a video called cage.mp4, whose file was renamed."""
    path = tmp_path / "results" / "renamed.poses.h5"
    path.parent.mkdir()
    pose_file.write_pose_tracks(path, made_up_tracks(frame_indices=(0, 2, 3), frames=5, unique=("corner",)))
    return path


def test_tables_are_written_beside_the_poses(
    poses: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = dlcpose(capsys, monkeypatch, "tables", str(poses), "--format", "csv", "--for", "simba")
    assert answer.code == 0, answer.err
    written = [Path(line) for line in answer.out.splitlines()]
    assert [path.relative_to(poses.parent).as_posix() for path in written] == [
        "cage.csv",
        "simba/cageDLC_resnet50_dlcpose_el.h5",
    ]
    assert pd.read_csv(written[0])["frame"].nunique() == 5
    assert "simba has no place for unique keypoints" in answer.err
    assert answer.err.count("simba has no place") == 1


def test_output_name_and_scorer_options(
    poses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--output", str(tmp_path / "out"), "--name", "mine", "--scorer", "DLC_lab", "--format", "deeplabcut")
    answer = dlcpose(capsys, monkeypatch, "tables", str(poses), *options)
    assert answer.code == 0, answer.err
    (table,) = [path for path in (tmp_path / "out").iterdir()]
    assert table.name == "mineDLC_lab_el.h5"
    assert pd.read_hdf(table).columns.get_level_values("scorer").unique().tolist() == ["DLC_lab"]


@pytest.mark.parametrize("option", ["--name", "--scorer"])
@pytest.mark.parametrize("value", ["a/b", "../b", "", ".."])
def test_a_name_is_a_part_of_a_files_name(
    poses: Path, option: str, value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(poses.parent.parent.rglob("*"))
    answer = dlcpose(capsys, monkeypatch, "tables", str(poses), "--format", "deeplabcut", option, value)
    assert reason(answer).startswith(f"{option}: ")
    assert sorted(poses.parent.parent.rglob("*")) == before


def test_a_scorer_is_refused_where_no_table_has_a_place_for_it(
    poses: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = dlcpose(
        capsys, monkeypatch, "tables", str(poses), "--format", "csv", "--for", "sleap", "--scorer", "DLC_lab"
    )
    assert reason(answer).startswith("--scorer: csv, sleap")


@pytest.mark.parametrize("name", table_formats())
def test_a_format_says_whether_it_has_a_place_for_the_scorer(name: str, poses: Path, tmp_path: Path) -> None:
    made = table_formats()[name]
    for package in made.needs:
        pytest.importorskip(package)
    tracks = pose_file.read_pose_tracks(poses)
    written = made.write(whole_poses(tracks), TableTarget(tmp_path, "cage", "DLC_lab"))
    assert any("DLC_lab" in path.name or b"DLC_lab" in path.read_bytes() for path in written) == made.names_scorer


def test_the_help_names_every_format_and_reader(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlcpose.cli.write_tables import FORMATS, READERS

    assert FORMATS.split(", ") == list(table_formats())
    assert READERS.split(", ") == list(table_readers())
    answer = dlcpose(capsys, monkeypatch, "tables", "--help")
    words = set(re.findall(r"[\w.]+", answer.out))
    assert {
        name for name in (*table_formats(), *table_readers()) if name not in words | {w.rstrip(".") for w in words}
    } == set()


def test_two_files_of_one_video_do_not_overwrite_each_other(
    poses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = poses.with_name("other.poses.h5")
    pose_file.write_pose_tracks(other, made_up_tracks(seed=1))
    answer = dlcpose(capsys, monkeypatch, "tables", str(poses), str(other), "--format", "csv")
    assert "--name" in reason(answer)
    displaced_pose = replace(made_up_tracks(seed=1), video=replace(made_up_tracks().video, path="/v/pen.avi"))
    pose_file.write_pose_tracks(other, displaced_pose)
    answer = dlcpose(capsys, monkeypatch, "tables", str(poses), str(other), "--format", "csv")
    assert (answer.code, len(answer.out.splitlines())) == (0, 2)


def test_of_several_files_what_was_written_is_said(
    poses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = poses.with_name("other.poses.h5")
    pose_file.write_pose_tracks(
        other, replace(made_up_tracks(), video=replace(made_up_tracks().video, path="/v/pen.avi"))
    )
    (poses.parent / "pen.csv").write_text(NOTES)
    answer = dlcpose(capsys, monkeypatch, "tables", str(poses), str(other), "--format", "csv")
    assert answer.out.split() == [str(poses.parent / "cage.csv")]
    assert "pen.csv: is there already, no table of pen.avi is written" in answer.err


NOTES = "my,own,notes\n"


@pytest.mark.parametrize(
    ("options", "file"),
    [
        (("--format", "csv"), "cage.csv"),
        (("--format", "csv", "--format", "nwb"), "cage_animal2.nwb"),
        (("--format", "movement"), "cage.nc"),
        (("--format", "parquet", "--for", "sleap"), "sleap/cage.predictions.slp"),
    ],
)
def test_a_file_that_is_there_is_replaced_only_with_overwrite(
    options: tuple[str, ...],
    file: str,
    poses: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = poses.parent / file
    own.parent.mkdir(exist_ok=True)
    own.write_text(NOTES)
    before = {path for path in poses.parent.rglob("*")}
    said = reason(dlcpose(capsys, monkeypatch, "tables", str(poses), *options))
    assert str(own) in said
    assert "--overwrite" in said
    assert own.read_text() == NOTES
    assert {path for path in poses.parent.rglob("*")} == before
    answer = dlcpose(capsys, monkeypatch, "tables", str(poses), *options, "--overwrite")
    assert answer.code == 0, answer.err
    assert own.read_bytes() != NOTES.encode()
    assert not [path for path in poses.parent.rglob(".*")]


def test_prediction_ends_with_its_tables_where_they_are_there_already(
    poses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dlcpose.cli.write_tables import tables_of

    tables_of([poses], ["simba"], list(table_formats()))
    written = {path: path.read_bytes() for path in poses.parent.rglob("*") if path.is_file()}
    said = capsys.readouterr().out
    tables_of([poses], ["simba"], list(table_formats()))
    assert capsys.readouterr().out == said
    assert {path: path.read_bytes() for path in poses.parent.rglob("*") if path.is_file()} == written
    # Corrected by hand under its own name: SLEAP keeps the provenance as it saves.
    sleap = poses.parent / "cage.predictions.slp"
    labels = sleap_io.load_slp(str(sleap), open_videos=False)
    labels.labeled_frames[0].instances[0].points["xy"][0] = 1.0
    labels.save(str(sleap), embed=False)
    corrected = sleap.read_bytes()
    tables_of([poses], [], ["sleap"])
    assert sleap.read_bytes() == corrected


@pytest.mark.parametrize("name", ["csv", "deeplabcut", "nwb", "sleap", "parquet"])
def test_prediction_leaves_tables_of_other_poses_alone(name: str, poses: Path) -> None:
    from dlcpose.cli.write_tables import tables_of

    tables_of([poses], [], [name])
    written = {path: path.read_bytes() for path in poses.parent.rglob("*") if path.is_file() and path != poses}
    pose_file.write_pose_tracks(poses, made_up_tracks(frame_indices=(0, 2, 3), frames=5, seed=1))
    with pytest.raises(DataError, match="is there already"):
        tables_of([poses], [], [name])
    assert {path: path.read_bytes() for path in written} == written
    tables_of([poses], [], [name], existing="replace")
    assert all(path.read_bytes() != content for path, content in written.items())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "--format or --for"),
        (("--format", "xls"), "--format: expected one of coco, csv"),
        (("--for", "excel"), "--for: expected one of anipose"),
    ],
)
def test_a_mistake_is_one_line(
    options: tuple[str, ...],
    expected: str,
    poses: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert expected in reason(dlcpose(capsys, monkeypatch, "tables", str(poses), *options))


def test_an_unwritable_folder_is_one_line(
    poses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    answer = dlcpose(
        capsys, monkeypatch, "tables", str(poses), "--format", "csv", "--output", str(tmp_path / "file" / "out")
    )
    assert str(tmp_path / "file") in reason(answer)
