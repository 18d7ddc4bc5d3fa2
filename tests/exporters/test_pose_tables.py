"""What any table holds: the poses as they were found, whatever the format, and never less without a word."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcpose.exporters import formats as format_registry
from dlcpose.exporters.formats import TableTarget, table_format, table_formats
from dlcpose.exporters.pose_tables import whole_poses, write_tables
from dlcpose.exporters.readers import table_readers
from dlcpose.structures.atomic_files import atomic_output
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.skeleton import Skeleton
from tests.exporters.table_readers import READ
from tests.structures.made_up_tracks import NAMES, made_up_tracks

# netCDF4, where it is installed, is built against an older numpy than it meets, which numpy itself says is no harm.
pytestmark = pytest.mark.filterwarnings("ignore:numpy.ndarray size changed")

REPOSITORY = Path(__file__).parents[2]
NEEDS_TRACKS = ("movement", "movement_0.17", "nwb", "sleap_analysis")


@st.composite
def poses(draw: st.DrawFn) -> PoseTracks:
    """Any poses of a short video: skipped frames, absent animals, half a coordinate, places outside the image."""
    frames = draw(st.integers(1, 6))
    indices = sorted(draw(st.sets(st.integers(0, frames - 1), min_size=1)))
    tracks = made_up_tracks(
        frame_indices=indices,
        frames=frames,
        animals=draw(st.integers(1, 3)),
        unique=draw(st.sampled_from([(), ("corner",), ("corner", "nose")])),
        missing=draw(st.sampled_from([0.0, 0.3, 0.8])),
        is_tracked=draw(st.booleans()),
        fps=draw(st.sampled_from([25.0, 30000 / 1001])),
        seed=draw(st.integers(0, 2**16)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    points, scores, unique = (
        array.copy() for array in (tracks.keypoints_in_image, tracks.keypoint_scores, tracks.unique_in_image)
    )
    points[rng.random(points.shape) < 0.05] = np.nan
    points[rng.random(points.shape) < 0.05] *= -1000
    unique[rng.random(unique.shape) < 0.2] = np.nan
    scores[rng.random(scores.shape) < 0.1] = draw(st.sampled_from([0.0, 1.0]))
    return replace(tracks, keypoints_in_image=points, keypoint_scores=scores, unique_in_image=unique)


def expected(tracks: PoseTracks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, scores and unique keypoints (x, y, score) with a row for every frame, worked out frame by frame."""
    frames, (animals, keypoints) = tracks.video.frames, tracks.keypoint_scores.shape[1:]
    points = np.full((frames, animals, keypoints, 2), np.nan)
    scores = np.zeros((frames, animals, keypoints))
    unique = np.full((frames, len(tracks.skeleton.unique), 3), [np.nan, np.nan, 0])
    for row, frame in enumerate(tracks.frame_indices):
        for n, k in np.ndindex(animals, keypoints):
            if np.isfinite(tracks.keypoints_in_image[row, n, k]).all():
                points[frame, n, k] = tracks.keypoints_in_image[row, n, k]
                scores[frame, n, k] = tracks.keypoint_scores[row, n, k]
        for u, point in enumerate(tracks.unique_in_image[row]):
            if np.isfinite(point).all():
                unique[frame, u] = (*point, tracks.unique_scores[row, u])
    return points, scores, unique


@pytest.mark.parametrize("name", READ)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_what_is_written_is_read_back_to_the_last_digit_of_float32(name: str, data: st.DataObject) -> None:
    tracks = data.draw(poses())
    if name in NEEDS_TRACKS and len(tracks.individuals) > 1:
        tracks = replace(tracks, is_tracked=True)
    if name == "sleap_analysis" and not tracks.is_present.any():
        return
    points, scores, unique = expected(tracks)
    with tempfile.TemporaryDirectory() as folder:
        read = READ[name](write_tables(tracks, Path(folder), formats=[name]), tracks)
    np.testing.assert_array_equal(read.points.astype(np.float32), points.astype(np.float32))
    np.testing.assert_array_equal(read.scores.astype(np.float32), scores.astype(np.float32))
    if read.unique is not None:
        np.testing.assert_array_equal(read.unique.astype(np.float32), unique.astype(np.float32))
    if read.times is not None:
        np.testing.assert_allclose(read.times, np.arange(tracks.video.frames) / tracks.video.fps, atol=1e-9)


def test_every_format_has_a_reader_that_is_not_ours() -> None:
    assert set(READ) == set(table_formats())


def test_times_are_those_of_presentation_and_missing_ones_lie_between_them() -> None:
    tracks = made_up_tracks(frame_indices=(1, 2, 5), frames=8)
    times = whole_poses(replace(tracks, times=np.array([0.5, 0.6, 1.2]))).times
    np.testing.assert_allclose(times[[1, 2, 5]], [0.5, 0.6, 1.2])
    np.testing.assert_allclose(times, [0.46, 0.5, 0.6, 0.8, 1.0, 1.2, 1.24, 1.28])
    no_rate = replace(tracks, video=replace(tracks.video, fps=np.nan), times=np.array([0.5, 0.6, 1.2]))
    np.testing.assert_allclose(whole_poses(no_rate).times[[0, 7]], [0.5 - 0.175, 1.2 + 2 * 0.175])


def test_a_video_without_times_has_frames_in_movement_and_none_in_nwb(tmp_path: Path) -> None:
    import xarray as xr

    tracks = made_up_tracks(frames=4)
    timeless = replace(tracks, video=replace(tracks.video, fps=np.nan), times=np.full(4, np.nan))
    (path,) = write_tables(timeless, tmp_path, formats=["movement"])
    with xr.open_dataset(path) as dataset:
        assert dataset["time"].to_numpy().tolist() == [0, 1, 2, 3]
        assert dataset.attrs["time_unit"] == "frames"
        assert "fps" not in dataset.attrs
    with pytest.raises(DataError, match="NWB needs the time"):
        write_tables(timeless, tmp_path, formats=["nwb"])


@pytest.mark.parametrize("name", NEEDS_TRACKS)
def test_untracked_animals_are_refused_where_a_column_is_taken_for_an_animal(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name}.*not tracked"):
        write_tables(made_up_tracks(is_tracked=False), tmp_path, formats=["csv", name])
    assert not list(tmp_path.iterdir())  # nothing of the formats before it either
    assert write_tables(made_up_tracks(is_tracked=False, animals=1), tmp_path, formats=[name])


@pytest.mark.parametrize("choice", [{"formats": ["cvs"]}, {"readers": ["simb"]}])
def test_unknown_name_lists_the_known_ones(choice: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected one of .*(csv|simba)"):
        write_tables(made_up_tracks(), tmp_path, **choice)


@pytest.mark.parametrize("choice", [{"formats": "csv"}, {"readers": "simba"}])
def test_one_name_in_place_of_a_list_is_refused(choice: dict[str, Any], tmp_path: Path) -> None:
    ((kind, name),) = choice.items()
    with pytest.raises(ConfigError, match=rf"^{kind}: .*\['{name}'\]"):
        write_tables(made_up_tracks(), tmp_path, **choice)


def test_a_folder_may_be_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (str(tmp_path), "~"):
        (written,) = write_tables(made_up_tracks(), folder, formats=["csv"], existing="keep")
        assert written.parent == tmp_path


def test_missing_package_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format_registry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"nwb: .*pynwb and ndx_pose.*dlcpose\[nwb\]"):
        write_tables(made_up_tracks(), tmp_path, formats=["nwb"])
    with pytest.raises(ConfigError, match=r"dlcpose\[tables\]"):
        write_tables(made_up_tracks(), tmp_path, readers=["movement"])


@pytest.mark.parametrize("score", [1.5, -0.2, np.nan])
def test_a_score_outside_0_and_1_is_refused(score: float, tmp_path: Path) -> None:
    tracks = made_up_tracks(missing=0)
    scores = tracks.keypoint_scores.copy()
    scores[0, 0, 0] = score
    with pytest.raises(DataError, match="keypoint_scores"):
        write_tables(replace(tracks, keypoint_scores=scores), tmp_path, formats=["csv"])


REFUSED = {
    "nwb": replace(made_up_tracks(), skeleton=Skeleton(("nose/tip", *NAMES[1:]))),
    "nwb times": replace(
        made_up_tracks(), times=np.full(12, np.nan), video=replace(made_up_tracks().video, fps=np.nan)
    ),
    "sleap_analysis": replace(made_up_tracks(), keypoints_in_image=np.full((12, 2, 4, 2), np.nan, np.float32)),
    "movement": made_up_tracks(animals=0, unique=("door",)),
    "sleap": made_up_tracks(animals=0, unique=("door",)),
    "deeplabcut": replace(made_up_tracks(unique=("door",)), individuals=("single", "b")),
    "nwb no name": replace(made_up_tracks(), skeleton=Skeleton(("", *NAMES[1:]))),
    "nwb names": replace(made_up_tracks(), individuals=("a/b", "A:b")),
}
REFUSED_BY_READERS = {
    "simba": replace(made_up_tracks(), video=replace(made_up_tracks().video, path="aDLC_b.mp4")),
    "anipose": replace(made_up_tracks(), individuals=("a/b", "A:b")),
    "bsoid": replace(made_up_tracks(), individuals=("..", "_")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_written_where_one_of_the_formats_cannot_hold_the_poses(case: str, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        write_tables(REFUSED[case], tmp_path / "out", formats=["csv", case.partition(" ")[0]])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reader", REFUSED_BY_READERS)
def test_nothing_is_written_where_one_of_the_readers_would_misread_it(reader: str, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        write_tables(REFUSED_BY_READERS[reader], tmp_path / "out", formats=["csv"], readers=["sleap", reader])
    assert not list(tmp_path.iterdir())


def test_poses_of_no_frame_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one frame"):
        write_tables(made_up_tracks(frame_indices=(), frames=0), tmp_path, formats=["deeplabcut"])


def test_tables_of_frames_that_nobody_predicted_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    indices = [*range(11), 10**9]  # 12 frames of a file of 7 kB, and rows of 200 GB
    with pytest.raises(
        DataError, match=r"cage\.mp4: tables have a row for each of its 1000000001 frames, but 12 frames"
    ):
        write_tables(made_up_tracks(frame_indices=indices), tmp_path / "tables", formats=["csv"])
    tracks = made_up_tracks(frames=0)
    empty = replace(tracks, video=replace(tracks.video, frames=10**9))
    with pytest.raises(DataError, match="but 0 frames are predicted"):
        write_tables(empty, tmp_path / "tables", formats=["csv"])
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize("name", ["movement", "movement_0.17", "nwb", "sleap", "sleap_analysis"])
def test_dropped_unique_keypoints_are_logged(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "dlcpose.exporters"):
        write_tables(made_up_tracks(unique=("corner",)), tmp_path, formats=[name])
    assert [(record.levelno, "unique keypoints" in record.message) for record in caplog.records] == [
        (logging.WARNING, True)
    ]


def test_dropped_predictions_are_logged_for_every_format(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracks = made_up_tracks(frames=3)
    with caplog.at_level(logging.INFO, "dlcpose.exporters"):
        write_tables(tracks, tmp_path, formats=table_formats())
    boxless = [record.message for record in caplog.records if "boxes" in record.message]
    assert len(boxless) == len(table_formats())
    caplog.clear()
    bare = replace(tracks, boxes_in_image=np.full_like(tracks.boxes_in_image, np.nan), scores=0 * tracks.scores)
    with caplog.at_level(logging.INFO, "dlcpose.exporters"):
        write_tables(bare, tmp_path / "bare", formats=["csv"])
    assert not caplog.records


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.b.csv"
    with atomic_output(path) as partial:
        assert partial.suffix == ".csv"
        partial.write_text("old")

    def fail() -> None:
        with atomic_output(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


FULL = """
import resource, signal, sys
from pathlib import Path
from dlcpose.exporters.formats import table_formats
from dlcpose.exporters.pose_tables import write_tables
from dlcpose.structures.errors import DataError
from made_up_tracks import made_up_tracks

folder, tracks = Path(sys.argv[1]), made_up_tracks(frames=2000)
write_tables(tracks, folder / "before", formats=table_formats())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
for name in table_formats():
    try:
        write_tables(tracks, folder / name, formats=[name])
    except DataError as error:
        print("refused", name, error, flush=True)
"""


@pytest.mark.slow  # as tests/runs/test_faults.py
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_disk_without_room_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    # In a process of its own, since HDF5 does not always survive it; libraries may complain besides.
    folders = (REPOSITORY, REPOSITORY / "tests" / "structures", os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-W", "ignore", "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    refused = [line for line in done.stdout.splitlines() if line.startswith("refused")]
    assert [line.split()[1] for line in refused] == list(table_formats()), done.stderr
    assert all("cannot be written" in line for line in refused)
    assert not [path for name in table_formats() for path in (tmp_path / name).glob("*")]


def test_files_written_again_are_the_same_bytes(tmp_path: Path) -> None:
    tracks = made_up_tracks(frames=4)
    # HDF5 keeps the time of writing.
    same = ("coco", "csv", "deeplabcut_csv", "parquet")
    first = write_tables(tracks, tmp_path / "one", formats=same)
    second = write_tables(tracks, tmp_path / "two", formats=same)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_names_of_files_start_with_the_video(tmp_path: Path) -> None:
    tracks = made_up_tracks(frames=3)
    tracks = replace(tracks, video=replace(tracks.video, path="/videos/Cage 1.2.mp4"))
    written = write_tables(tracks, tmp_path, formats=table_formats(), readers=table_readers(), scorer="DLC_me")
    assert len(set(written)) == len(written)
    assert all(path.is_file() and path.name.startswith("Cage 1.2") for path in written)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)


def test_a_video_whose_name_is_no_utf8_has_tables_of_every_format(tmp_path: Path) -> None:
    tracks = made_up_tracks(frames=3)
    tracks = replace(tracks, video=replace(tracks.video, path=os.fsdecode(b"/videos/caf\xe9.mp4")))
    written = write_tables(tracks, tmp_path, formats=table_formats(), scorer="DLC_me")
    assert all(os.fsencode(path.name).startswith(b"caf\xe9") for path in written)


def test_one_name_for_two_formats_is_refused() -> None:
    before = table_formats()["csv"]
    with pytest.raises(ConfigError, match="csv"):
        table_format("csv", suffix=".csv")(lambda tracks, target: [])
    assert table_formats()["csv"] is before


def test_where_poses_come_from_is_in_every_file_that_has_a_place_for_it(tmp_path: Path) -> None:
    import pyarrow.parquet as pq
    import sleap_io
    import xarray as xr
    from pynwb import NWBHDF5IO

    tracks = made_up_tracks(frames=3, animals=1)
    print_of = tracks.video.fingerprint
    paths = {name: write_tables(tracks, tmp_path, formats=[name])[0] for name in table_formats()}
    with h5py.File(paths["deeplabcut"]) as file:
        assert file["df_with_missing"].attrs["dlcpose_video_fingerprint"].decode() == print_of
    about = json.loads(pq.read_schema(paths["parquet"]).metadata[b"dlcpose"])
    assert (about["video_fingerprint"], about["individuals"]) == (print_of, ["animal1"])
    assert about["skeleton"] == tracks.skeleton.as_dict()
    with xr.open_dataset(paths["movement"]) as dataset:
        assert dataset.attrs["dlcpose_video_fingerprint"] == print_of
    with NWBHDF5IO(str(paths["nwb"]), "r") as io:
        file = io.read()
        assert print_of in file.notes
        video = file.processing["behavior"]["PoseEstimation"].source_video
        assert list(video.external_file[:]) == ["cage.mp4"]
    assert sleap_io.load_slp(str(paths["sleap"])).provenance["video_fingerprint"] == print_of
    with h5py.File(paths["sleap_analysis"]) as file:
        assert json.loads(file["provenance"][()])["video_fingerprint"] == print_of
    assert json.loads(paths["coco"].read_text())["info"]["video_fingerprint"] == print_of


def test_a_place_of_tables_is_made_of_folder_stem_and_ending(tmp_path: Path) -> None:
    assert TableTarget(tmp_path, "a.b").path(".csv") == tmp_path / "a.b.csv"
