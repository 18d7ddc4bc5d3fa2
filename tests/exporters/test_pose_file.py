"""Results of a video as a file: read as they were written, and never more than a stranger should be allowed."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dlcpose.exporters.pose_file import (
    DESCRIPTION,
    TYPES,
    Provenance,
    pose_writer,
    read_pose_tracks,
    read_provenance,
    write_pose_tracks,
)
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from tests.shells import python
from tests.structures.made_up_tracks import made_up_tracks

PROVENANCE = Provenance(
    checkpoint="best.ckpt",
    checkpoint_hash="0" * 64,
    settings={"crop": [1, 2, 3, 4], "precision": "32"},
    versions={"torch": "2.14"},
    seconds={"decode": 1.5},
    missing_frames=((3, 5), (9, 9)),
    problem="v.mp4: 4 frames could not be decoded",
)


def same(first: PoseTracks, second: PoseTracks) -> bool:
    plain = ("skeleton", "individuals", "is_tracked", "video")
    return all(getattr(first, name) == getattr(second, name) for name in plain) and all(
        getattr(first, name).tobytes() == getattr(second, name).tobytes() for name in TYPES
    )


@pytest.mark.parametrize(
    "settings",
    [{}, {"animals": 1, "unique": ("door",)}, {"frame_indices": (2, 4, 9)}, {"frames": 0}, {"is_tracked": False}],
)
def test_what_is_written_is_read(settings: dict[str, Any], tmp_path: Path) -> None:
    tracks = made_up_tracks(**settings)
    write_pose_tracks(tmp_path / "v.poses.h5", tracks, PROVENANCE)
    assert same(read_pose_tracks(tmp_path / "v.poses.h5"), tracks)
    assert read_provenance(tmp_path / "v.poses.h5") == (tracks.video.fingerprint, PROVENANCE)
    assert [path.name for path in tmp_path.iterdir()] == ["v.poses.h5"]


def test_the_spread_of_an_ensemble_is_kept_and_checked(tmp_path: Path) -> None:
    path, tracks = tmp_path / "v.poses.h5", made_up_tracks()
    spreads = np.where(tracks.keypoint_scores > 0, tracks.keypoint_scores, np.nan).astype(np.float32)
    write_pose_tracks(path, replace(tracks, keypoint_spreads=spreads))
    read = read_pose_tracks(path).keypoint_spreads
    assert read is not None
    np.testing.assert_array_equal(read, spreads)
    write_pose_tracks(path, replace(tracks, keypoint_spreads=-tracks.keypoint_scores))
    with pytest.raises(DataError, match="keypoint_spreads"):
        read_pose_tracks(path)
    write_pose_tracks(path, tracks)
    assert read_pose_tracks(path).keypoint_spreads is None


def test_a_file_in_the_home_folder_is_found_by_its_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    tracks = made_up_tracks()
    write_pose_tracks(tmp_path / "cage.poses.h5", tracks)
    assert same(read_pose_tracks("~/cage.poses.h5"), tracks)
    assert read_provenance("~/cage.poses.h5")[0] == tracks.video.fingerprint


def test_an_unknown_rate_stays_unknown(tmp_path: Path) -> None:
    write_pose_tracks(tmp_path / "v.poses.h5", made_up_tracks(fps=float("nan")))
    assert np.isnan(read_pose_tracks(tmp_path / "v.poses.h5").video.fps)


def test_a_file_written_in_pieces_is_the_same(tmp_path: Path) -> None:
    whole = made_up_tracks(frames=10)
    parts = [_rows(whole, slice(0, 3)), _rows(whole, slice(3, 4)), _rows(whole, slice(4, 10))]
    with pose_writer(tmp_path / "v.poses.h5", 10, whole.skeleton, whole.individuals) as writer:
        for part in parts:
            writer.append(part)
        writer.finish(whole.video, PROVENANCE, is_tracked=whole.is_tracked)
    assert same(read_pose_tracks(tmp_path / "v.poses.h5"), whole)


def _rows(tracks: PoseTracks, rows: slice) -> PoseTracks:
    from dataclasses import replace

    return replace(tracks, **{name: getattr(tracks, name)[rows] for name in TYPES})


def test_partial_file_replaces_nothing(tmp_path: Path) -> None:
    path, tracks = tmp_path / "v.poses.h5", made_up_tracks()
    write_pose_tracks(path, tracks)
    before = path.read_bytes()
    with (
        pytest.raises(ValueError, match="expected 12 frames, got 0"),
        pose_writer(path, 12, tracks.skeleton, tracks.individuals) as writer,
    ):
        writer.finish(tracks.video, PROVENANCE, is_tracked=True)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["v.poses.h5"]
    with pytest.raises(DataError, match="cannot be written"):
        write_pose_tracks(tmp_path / "gone" / "v.poses.h5", tracks)


def broken(path: Path, name: str, value: Any = None, **settings: Any) -> None:
    with h5py.File(path, "r+") as file:
        old = file[name][()]
        del file[name]
        if value is not None or settings:
            file.create_dataset(name, data=old if value is None else value(old), **settings)


def set_to(place: tuple[int, ...], number: float) -> Any:
    def change(old: np.ndarray) -> np.ndarray:
        old[place] = number
        return old

    return change


def described(**changes: Any) -> Any:
    def change(old: np.ndarray) -> np.ndarray:
        return np.frombuffer(json.dumps({**json.loads(old.tobytes()), **changes}).encode(), np.uint8)

    return change


def nested(part: str, **changes: Any) -> Any:
    """A change of values within a part of the description."""

    def change(old: np.ndarray) -> np.ndarray:
        there = json.loads(old.tobytes())[part]
        result: np.ndarray = described(**{part: {**there, **changes}})(old)
        return result

    return change


@pytest.mark.parametrize(
    ("name", "value", "settings"),
    [
        ("scores", None, {}),
        ("scores", set_to((0, 0), 1.5), {}),
        ("scores", set_to((0, 0), np.nan), {}),
        ("keypoint_scores", set_to((0, 0, 0), -0.1), {}),
        ("times", set_to((0,), -np.inf), {}),
        ("identities", set_to((0, 0), -2), {}),
        ("frame_indices", lambda old: old[::-1].copy(), {}),
        ("frame_indices", lambda old: old - 1, {}),
        ("frame_indices", lambda old: old.astype(np.float64), {}),
        ("scores", lambda old: old[:-1], {}),
        ("scores", lambda old: old[..., None], {}),
        ("scores", lambda old: np.array([b"x"] * 3, object), {"dtype": h5py.string_dtype()}),
        ("scores", None, {"chunks": (1, 2), "compression": "gzip"}),
        ("scores", None, {"chunks": (1, 2)}),
        (DESCRIPTION, lambda old: old[:-1], {}),
        (DESCRIPTION, described(format="else"), {}),
        (DESCRIPTION, described(individuals=["one"]), {}),
        (DESCRIPTION, described(skeleton={"names": []}), {}),
        (DESCRIPTION, described(video={"path": "x"}), {}),
        (DESCRIPTION, described(video=[]), {}),
        (DESCRIPTION, described(is_tracked="no"), {}),
        (DESCRIPTION, described(is_tracked=None), {}),
        (DESCRIPTION, lambda old: np.frombuffer(b"[" * 100_000, np.uint8), {}),
        (DESCRIPTION, lambda old: np.append(old[:-1], np.frombuffer(b', "is_tracked": true}', np.uint8)), {}),
        (DESCRIPTION, described(individuals="ab"), {}),
        (DESCRIPTION, described(individuals=["a", "a"]), {}),
        (DESCRIPTION, described(individuals=[None, {}]), {}),
        (DESCRIPTION, nested("skeleton", names="abcd"), {}),
        (DESCRIPTION, nested("skeleton", sigmas=[10**400] * 4), {}),
        (DESCRIPTION, lambda old: np.frombuffer(old.tobytes().replace(b"25.0", b"1e400"), np.uint8), {}),
        (DESCRIPTION, described(individuals=["a\0", "b"]), {}),
        (DESCRIPTION, nested("skeleton", names=["a", "b", "c", "\ud800"]), {}),
        (DESCRIPTION, nested("video", path="a\0.mp4"), {}),
        (DESCRIPTION, nested("video", path="\ud800.mp4"), {}),
        (DESCRIPTION, nested("video", fps=float("inf")), {}),
        (DESCRIPTION, nested("video", fps=10**400), {}),
        (DESCRIPTION, nested("video", height=10**400), {}),
        (DESCRIPTION, nested("video", path=[]), {}),
        (DESCRIPTION, nested("video", fingerprint=None), {}),
        (DESCRIPTION, nested("video", fps=-25.0), {}),
        (DESCRIPTION, nested("video", frames=10**13), {}),  # of which tables would have a row each
        ("frame_indices", set_to((11,), 2**61), {}),
    ],
)
def test_what_no_prediction_has_is_refused(name: str, value: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    write_pose_tracks(tmp_path / "v.poses.h5", made_up_tracks())
    broken(tmp_path / "v.poses.h5", name, value, **settings)
    with pytest.raises(DataError, match=r"v\.poses\.h5: expected poses of a video"):
        read_pose_tracks(tmp_path / "v.poses.h5")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 3e38, -2e6])
@pytest.mark.parametrize("name", ["keypoints_in_image", "boxes_in_image", "unique_in_image"])
def test_a_place_that_no_image_has_is_refused(name: str, value: float, tmp_path: Path) -> None:
    tracks = made_up_tracks(unique=("food",))
    write_pose_tracks(tmp_path / "v.poses.h5", tracks)
    broken(tmp_path / "v.poses.h5", name, set_to((0,) * getattr(tracks, name).ndim, value))
    with pytest.raises(DataError, match=rf"v\.poses\.h5: {name}: .* is no place in an image"):
        read_pose_tracks(tmp_path / "v.poses.h5")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"settings": ["tracking"]}, {"seconds": 3}, {"settings": None}, {"unknown": 1}, {"versions": [1]}),
        *({"checkpoint": []}, {"checkpoint_hash": None}, {"problem": 5}),
        *({"individuals": "ab"}, {"missing_frames": [[float("inf"), 1]]}, {"settings": {"precision": float("nan")}}),
    ],
)
def test_a_provenance_of_another_kind_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "v.poses.h5"
    write_pose_tracks(path, made_up_tracks(), PROVENANCE)
    broken(path, DESCRIPTION, described(provenance={**asdict(PROVENANCE), **wrong}))
    with pytest.raises(DataError, match=r"v\.poses\.h5: expected poses of a video"):
        read_provenance(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "flypair13-SLEAP-2024-12-20/tracks/clip_tracks.h5",
            r"got a table of pandas, as DeepLabCut writes them\. .*dlcpose import-poses",
        ),
        ("sleap/flypair13/clip.slp", r"got a project of SLEAP \(\.slp\)\. .*dlcpose import-poses"),
        ("openfield-Pranav-2018-10-30/config.yaml", r"but it is no HDF5 file \(\.yaml"),
    ],
)
def test_files_of_other_programs_are_named(name: str, says: str, shared_data: Path) -> None:
    for read in (read_pose_tracks, read_provenance):
        with pytest.raises(DataError, match=says):
            read(shared_data / name)


def test_an_analysis_file_of_sleap_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "v.analysis.h5", "w") as file:
        file["tracks"], file["track_occupancy"] = np.zeros((1, 2, 3, 4)), np.ones((4, 1))
    with pytest.raises(DataError, match="got an analysis file of SLEAP"):
        read_pose_tracks(tmp_path / "v.analysis.h5")


def test_no_other_file_is_read_through_a_file_of_poses(tmp_path: Path) -> None:
    tracks = made_up_tracks()
    for name in ("linked", "soft", "virtual", "external"):
        write_pose_tracks(tmp_path / f"{name}.poses.h5", tracks)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["scores"] = tracks.scores
    tracks.scores.tofile(tmp_path / "raw.bin")
    layout = h5py.VirtualLayout(tracks.scores.shape, np.float32)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "scores", tracks.scores.shape)
    made = {
        "linked": lambda file: file.__setitem__("scores", h5py.ExternalLink(str(tmp_path / "other.h5"), "/scores")),
        "soft": lambda file: file.__setitem__("scores", h5py.SoftLink("/keypoint_scores")),
        "virtual": lambda file: file.create_virtual_dataset("scores", layout),
        "external": lambda file: file.create_dataset(
            "scores",
            tracks.scores.shape,
            np.float32,
            external=[(str(tmp_path / "raw.bin"), 0, tracks.scores.nbytes)],
        ),
    }
    for name, make in made.items():
        with h5py.File(tmp_path / f"{name}.poses.h5", "r+") as file:
            del file["scores"]
            make(file)
        with pytest.raises(DataError):
            read_pose_tracks(tmp_path / f"{name}.poses.h5")


def test_memory_is_not_taken_for_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "v.poses.h5"
    write_pose_tracks(path, made_up_tracks())
    with h5py.File(path, "r+") as file:
        del file["times"]
        file.create_dataset("times", (2**50,), np.float64)  # never written: the file stays small
    with pytest.raises(DataError, match="more than there are"):
        read_pose_tracks(path)
    write_pose_tracks(path, made_up_tracks())
    with pytest.raises(DataError):
        read_pose_tracks(path, max_bytes=1000)


def test_what_is_no_file_of_poses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.poses.h5").write_text("no")
    write_pose_tracks(tmp_path / "v.poses.h5", made_up_tracks())
    content = (tmp_path / "v.poses.h5").read_bytes()
    (tmp_path / "half.poses.h5").write_bytes(content[: len(content) // 2])
    for name in ("text.poses.h5", "half.poses.h5", "gone.poses.h5"):
        for read in (read_pose_tracks, read_provenance):
            with pytest.raises(DataError, match=name):
                read(tmp_path / name)
    (tmp_path / "table.csv").write_text("no")
    with pytest.raises(DataError, match=r"Give the file NAME\.poses\.h5"):  # to predict anew would not help
        read_pose_tracks(tmp_path / "table.csv")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no limits on the size of files on Windows")
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 0.95, 0.9999])
def test_a_full_disk_is_one_line_and_no_crash(share: float, tmp_path: Path) -> None:
    """HDF5 itself crashes where it closes a file that it could not write."""
    whole = tmp_path / "whole" / "v.poses.h5"
    whole.parent.mkdir()
    write_pose_tracks(whole, made_up_tracks(frames=3000))
    limit = int(whole.stat().st_size * share)
    program = """
import resource, sys
from pathlib import Path
from dlcpose.exporters.pose_file import read_pose_tracks, write_pose_tracks
from dlcpose.structures.errors import DataError
tracks = read_pose_tracks(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    write_pose_tracks(Path(sys.argv[1]), tracks)
except DataError as error:
    print(error)
"""
    answer = python("-c", program, tmp_path / "v.poses.h5", str(limit), whole, cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert answer.out.startswith(f"{tmp_path / 'v.poses.h5'}: cannot be written (File too large).")
    assert answer.out.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole"]
