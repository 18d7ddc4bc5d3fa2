"""Finished frames on disk: whole or not at all, and the same when they are read again."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dlcpose.prediction.partial_results import PartialResults, held
from dlcpose.prediction.pose_rows import (
    OF_ANIMALS,
    OF_FRAMES,
    PoseRows,
    joined,
    no_rows,
    rows_of,
    tracks_of,
)
from dlcpose.structures.errors import DataError
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.pose_tracks import VideoInfo, column_names
from dlcpose.structures.skeleton import Skeleton

SKELETON = Skeleton(("nose", "tail", "ear"), unique=("door",))
RNG = np.random.default_rng(0)


def predictions(counts: list[int]) -> list[PosePrediction]:
    return [
        PosePrediction(
            str(number),
            RNG.uniform(0, 60, (count, 3, 2)).astype(np.float32),
            RNG.uniform(0, 1, (count, 3)).astype(np.float32),
            RNG.uniform(0, 1, count).astype(np.float32),
            RNG.integers(-1, 3, count),
            RNG.uniform(0, 60, (1, 2)).astype(np.float32),
            RNG.uniform(0, 1, 1).astype(np.float32),
            RNG.uniform(0, 60, (count, 4)).astype(np.float32),
        )
        for number, count in enumerate(counts)
    ]


def rows(counts: list[int], first: int = 0) -> PoseRows:
    indices = list(range(first, first + len(counts)))
    return rows_of(indices, [index / 25 for index in indices], predictions(counts))


def assert_same(one: PoseRows, other: PoseRows) -> None:
    for name in ("frame_indices", "times", "counts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in (*OF_ANIMALS, *OF_FRAMES):
        of = "animals" if name in OF_ANIMALS else "frames"
        ours, theirs = getattr(one, of)[name], getattr(other, of)[name]
        assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())


def test_what_was_finished_is_there_again(tmp_path: Path) -> None:
    partial = PartialResults(tmp_path / "v.poses.partial")
    assert partial.settings() is None
    partial.begin({"a": 1})
    parts = [rows([2, 0, 1]), rows([0, 0], 3), rows([1], 5)]
    for part in parts:
        partial.add(part, {"decode": 1.0})
        partial.flush({"decode": 2.0})
    again = PartialResults(tmp_path / "v.poses.partial")
    assert again.settings() == {"a": 1}
    finished = again.go_on()
    assert (finished.frames, finished.seconds, finished.state) == (6, {"decode": 2.0}, {})
    assert finished.last is not None
    assert_same(finished.last, parts[-1])
    assert_same(joined(list(again.stretches())), joined(parts))
    again.add(rows([3], 6), {})
    again.flush({})
    assert PartialResults(tmp_path / "v.poses.partial").go_on().frames == 7
    again.clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds", ['{"decode": 1, "decode": 2}', '{"decode": NaN}', '{"decode": "long"}', "[]"])
def test_times_that_are_none_are_refused(seconds: str, tmp_path: Path) -> None:
    partial = PartialResults(tmp_path / "v.poses.partial")
    partial.begin({})
    partial.add(rows([1]), {})
    partial.flush({})
    path = tmp_path / "v.poses.partial" / "000000.npz"
    with np.load(path) as content:
        arrays = {**content, "seconds": np.frombuffer(seconds.encode(), np.uint8)}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=r"000000\.npz"):
        PartialResults(tmp_path / "v.poses.partial").go_on()


def test_what_is_half_written_does_not_count(tmp_path: Path) -> None:
    partial = PartialResults(tmp_path / "v.poses.partial")
    partial.begin({})
    partial.add(rows([1]), {})
    partial.flush({})
    (tmp_path / "v.poses.partial" / "000001.npz.writing").write_bytes(b"half")
    assert PartialResults(tmp_path / "v.poses.partial").go_on().frames == 1
    (tmp_path / "v.poses.partial" / "000001.npz").write_bytes(b"half")
    with pytest.raises(DataError, match=r"000001\.npz"):
        PartialResults(tmp_path / "v.poses.partial").go_on()
    (tmp_path / "v.poses.partial" / "settings.json").write_text("{")
    assert PartialResults(tmp_path / "v.poses.partial").settings() is None


def four_stretches(folder: Path) -> PartialResults:
    partial = PartialResults(folder)
    partial.begin({})
    for number in range(4):
        partial.add(rows([1, 1], 2 * number), {})
        partial.flush({})
    return partial


@pytest.mark.parametrize("lost", [["000000"], ["000002"], ["000003"], ["000000", "000001", "000002", "000003"]])
def test_frames_that_something_else_removed_are_missed(lost: list[str], tmp_path: Path) -> None:
    partial = four_stretches(tmp_path / "v.poses.partial")
    for name in lost:
        (tmp_path / "v.poses.partial" / f"{name}.npz").unlink()
    with pytest.raises(DataError, match=f"{lost[0]}.npz: finished frames have been removed"):
        list(partial.stretches())


def test_what_is_beyond_a_gap_is_not_mixed_with_what_is_predicted_again(tmp_path: Path) -> None:
    four_stretches(tmp_path / "v.poses.partial")
    (tmp_path / "v.poses.partial" / "000001.npz").unlink()
    with pytest.raises(DataError, match=r"000001\.npz"):
        list(PartialResults(tmp_path / "v.poses.partial").stretches())
    again = PartialResults(tmp_path / "v.poses.partial")
    assert again.go_on().frames == 2
    again.add(rows([1, 1, 1], 2), {})
    again.flush({})
    resumed = PartialResults(tmp_path / "v.poses.partial")
    assert resumed.go_on().frames == 5
    assert joined(list(resumed.stretches())).frame_indices.tolist() == [0, 1, 2, 3, 4]


def test_frames_are_kept_for_a_while_before_they_are_written(tmp_path: Path) -> None:
    partial = PartialResults(tmp_path / "v.poses.partial")
    partial.begin({})
    for number in range(20):
        partial.add(rows([1], number), {})
    assert not list(partial.stretches())
    partial.flush({})
    (written,) = partial.stretches()
    assert len(written) == 20


def test_two_commands_never_work_on_one_video(tmp_path: Path) -> None:
    folder = tmp_path / "v.poses.partial"
    with held(folder), pytest.raises(DataError, match="another command"), held(folder):
        pass
    with held(folder):
        pass
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------------------- as tracks


def test_rows_become_columns() -> None:
    found = predictions([2, 0, 1])
    made = rows_of([0, 2, 5], [0.0, 0.1, 0.2], found)
    video = VideoInfo("v.mp4", "f", 60, 60, 10, 25.0)
    tracks = tracks_of(made, SKELETON, video, column_names(3, ()), is_tracked=False)
    assert tracks.individuals == ("animal1", "animal2", "animal3")
    assert tracks.frame_indices.tolist() == [0, 2, 5]
    for row, each in enumerate(found):
        count = len(each)
        np.testing.assert_array_equal(tracks.keypoints_in_image[row, :count], each.keypoints_in_image)
        np.testing.assert_array_equal(tracks.boxes_in_image[row, :count], each.boxes_in_image)
        np.testing.assert_array_equal(tracks.unique_in_image[row], each.unique_in_image)
        assert np.isnan(tracks.keypoints_in_image[row, count:]).all()
        assert (tracks.scores[row, count:] == 0).all()
        assert (tracks.identities[row, count:] == -1).all()
    with pytest.raises(ValueError, match="expected 1 animals in a frame at most, got 2"):
        tracks_of(made, SKELETON, video, ("one",), is_tracked=False)


def test_unique_keypoints_that_a_model_does_not_look_for_are_missing() -> None:
    """A top-down model sees crops of animals; its skeleton names the arena's keypoints all the same."""
    none = {"unique_in_image": np.zeros((0, 2), np.float32), "unique_scores": np.zeros(0, np.float32)}
    made = rows_of([0, 2], [0.0, 0.1], [replace(each, **none) for each in predictions([2, 0])])
    video = VideoInfo("v.mp4", "f", 60, 60, 10, 25.0)
    tracks = tracks_of(made, SKELETON, video, column_names(2, ()), is_tracked=False)
    assert tracks.unique_in_image.shape == (2, 1, 2)
    assert np.isnan(tracks.unique_in_image).all()
    assert (tracks.unique_scores == 0).all()


def test_the_last_frame_is_known_again() -> None:
    found = predictions([2, 3])
    last = rows_of([4, 7], [0.0, 1.0], found).last()
    assert last is not None
    assert last.key == "7"
    for name in (*OF_ANIMALS, *OF_FRAMES):
        np.testing.assert_array_equal(getattr(last, name), getattr(found[1], name))
    assert no_rows(SKELETON).last() is None
    assert_same(joined([no_rows(SKELETON), rows_of([4, 7], [0.0, 1.0], found)]), rows_of([4, 7], [0.0, 1.0], found))


def test_columns_have_the_data_s_names_where_they_are_as_many() -> None:
    assert column_names(2, ("female", "male")) == ("female", "male")
    assert column_names(2, ("female",)) == ("animal1", "animal2")


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes of this kind")
def test_a_pipe_beside_a_strangers_video_is_not_waited_for(tmp_path: Path) -> None:
    partial = PartialResults(tmp_path / "v.poses.partial")
    partial.folder.mkdir()
    os.mkfifo(partial.folder / "settings.json")
    assert partial.settings() is None
    partial.begin({"a": 1})
    assert partial.settings() == {"a": 1}


def test_frames_that_unfold_to_more_than_their_file_are_refused(tmp_path: Path) -> None:
    partial = PartialResults(tmp_path / "v.poses.partial")
    partial.folder.mkdir()
    np.savez_compressed(partial.folder / "000000.npz", frame_indices=np.zeros(10**6, np.int64))
    with pytest.raises(DataError, match="cannot be read as finished frames"):
        partial.go_on()
