"""Predictions of SLEAP, written by sleap-io, are read as sleap-io itself has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sleap_io

from dlcpose.importers.pose_formats import ForeignPoses, read_foreign_poses
from dlcpose.structures.errors import DataError
from tests.datasets import sleap_files

MOUSE = sleap_files.skeleton()


def film(name: str = "cage.mp4") -> Any:
    video = sleap_io.Video(filename=name, open_backend=False)
    video.backend_metadata = {"type": "MediaVideo", "shape": (12, 48, 64, 3), "grayscale": False}
    return video


def animal(rng: np.random.Generator, track: Any = None, *, missing: float = 0.3, score: float = 0.7) -> Any:
    points = rng.uniform(0, 48, (3, 2))
    points[1:][rng.random(2) < missing] = np.nan
    return sleap_io.PredictedInstance.from_numpy(
        points, skeleton=MOUSE, point_scores=rng.uniform(0.1, 1, 3), score=score, track=track
    )


def labels_of(frames: dict[int, list[Any]], tracks: Sequence[Any] = (), video: Any = None) -> Any:
    video = video or film()
    labeled = [sleap_io.LabeledFrame(video=video, frame_idx=n, instances=each) for n, each in frames.items()]
    return sleap_io.Labels(labeled, videos=[video], skeletons=[MOUSE], tracks=list(tracks))


def saved(labels: Any, path: Path) -> Path:
    sleap_io.save_slp(labels, str(path), embed=False, verbose=False)
    return path


def read(path: Path, is_tracked: bool | None = None) -> ForeignPoses:
    (poses,) = read_foreign_poses(path, is_tracked=is_tracked)
    return poses


def assert_same(poses: ForeignPoses, theirs: np.ndarray) -> None:
    """theirs: (T, N, K, 3) of sleap-io, with scores, from the first frame on."""
    step = poses.frames[1] - poses.frames[0] if len(poses.frames) > 1 else 1
    own = np.where(np.isnan(poses.points[..., :1]), np.nan, poses.points)
    np.testing.assert_allclose(own, theirs[::step][: len(own), : own.shape[1], :, :2], rtol=1e-6)
    scores = np.where(np.isnan(own[..., 0]), 0, poses.scores)
    seen = np.where(np.isnan(theirs[..., 0]), 0, theirs[..., 2])
    np.testing.assert_allclose(scores, seen[::step][: len(own), : own.shape[1]], rtol=1e-6)


def two_tracks(rng: np.random.Generator) -> Any:
    """Two animals in frames 2 to 7, the second one not always there."""
    tracks = [sleap_io.Track("female"), sleap_io.Track("male")]
    frames = {
        number: [animal(rng, track) for track in tracks if track is tracks[0] or number % 3] for number in range(2, 8)
    }
    return labels_of(frames, tracks)


@pytest.mark.parametrize("seed", range(3))
def test_tracks_are_columns(seed: int, tmp_path: Path) -> None:
    labels = two_tracks(np.random.default_rng(seed))
    poses = read(saved(labels, tmp_path / "a.slp"))
    assert (poses.individuals, poses.is_tracked, poses.notes) == (("female", "male"), True, ())
    assert (poses.video, poses.size, poses.program) == ("cage.mp4", (48, 64), "SLEAP")
    assert poses.frames.tolist() == list(range(2, 8))
    assert poses.skeleton.names == ("nose", "earL", "earR")
    assert poses.skeleton.edges == ((0, 1), (0, 2))
    assert_same(poses, labels.numpy(return_confidence=True)[2:])
    np.testing.assert_allclose(poses.animal_scores[:, 0], 0.7, rtol=1e-6)


def test_untracked_animals_stand_in_the_order_of_a_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = labels_of({number: [animal(rng) for _ in range(1 + number % 3)] for number in range(6)})
    poses = read(saved(labels, tmp_path / "a.slp"))
    assert (poses.individuals, poses.is_tracked) == (("animal1", "animal2", "animal3"), False)
    assert_same(poses, labels.numpy(untracked=True, return_confidence=True))


def test_tracks_can_be_taken_as_detections(tmp_path: Path) -> None:
    labels = two_tracks(np.random.default_rng(0))
    poses = read(saved(labels, tmp_path / "a.slp"), is_tracked=False)
    assert (poses.individuals, poses.is_tracked) == (("animal1", "animal2"), False)
    assert_same(poses, labels.numpy(untracked=True, return_confidence=True)[2:])


def test_one_animal_needs_no_track(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poses = read(saved(labels_of({number: [animal(rng)] for number in range(3)}), tmp_path / "a.slp"))
    assert (poses.individuals, poses.is_tracked) == (("animal1",), True)


@pytest.mark.parametrize("tracked", [True, False])
def test_what_a_person_corrected_takes_the_place_of_the_prediction(tracked: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    track = sleap_io.Track("female") if tracked else None
    frames = {number: [animal(rng, track), animal(rng)] for number in range(3)}
    if tracked:
        other = sleap_io.Track("male")
        for animals in frames.values():
            animals[1].track = other
    corrected = sleap_io.Instance.from_numpy(np.full((3, 2), 5.0), skeleton=MOUSE, track=track)
    corrected.from_predicted = frames[1][0]
    frames[1].append(corrected)
    labels = labels_of(frames, [track, other] if tracked else [])
    poses = read(saved(labels, tmp_path / "a.slp"))
    assert_same(poses, labels.numpy(untracked=not tracked, return_confidence=True))
    assert (poses.points[1, 0] == 5).all()
    assert (poses.scores[1, 0] == 1).all()


def test_frames_in_which_nothing_was_found_count_between_those_of_the_same_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = labels_of({number: [animal(rng)] for number in (10, 20, 40)})
    poses = read(saved(labels, tmp_path / "a.slp"))
    assert poses.frames.tolist() == [10, 20, 30, 40]
    assert np.isnan(poses.points[2]).all()


def test_instances_without_a_track_beside_tracks_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tracks = [sleap_io.Track("a")]
    labels = labels_of({number: [animal(rng, tracks[0]), animal(rng)] for number in range(3)}, tracks)
    poses = read(saved(labels, tmp_path / "a.slp"))
    assert poses.individuals == ("a",)
    assert poses.notes[0].startswith("3 instances without a track left out")


def test_more_tracks_than_animals_are_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tracks = [sleap_io.Track("track"), sleap_io.Track("track"), sleap_io.Track("other")]
    labels = labels_of({number: [animal(rng, tracks[number])] for number in range(3)}, tracks)
    poses = read(saved(labels, tmp_path / "a.slp"))
    assert poses.individuals == ("track_1", "track_2", "other")
    assert "3 tracks of at most 1 animal at a time" in poses.notes[-1]


def test_each_video_has_poses_of_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    videos = [film("/data/a.mp4"), film("C:\\data\\b.avi"), film("c.mp4")]
    labeled = [
        sleap_io.LabeledFrame(video=video, frame_idx=number, instances=[animal(rng)])
        for video in videos[:2]
        for number in range(3)
    ]
    labels = sleap_io.Labels(labeled, videos=videos, skeletons=[MOUSE])
    first, second = read_foreign_poses(saved(labels, tmp_path / "a.slp"))
    assert (first.video, second.video) == ("/data/a.mp4", "C:/data/b.avi")
    np.testing.assert_allclose(second.points[:, 0], labels.numpy(video=videos[1])[:3, 0], rtol=1e-6)


def test_labels_by_persons_are_no_predictions(tmp_path: Path) -> None:
    person = sleap_io.Instance.from_numpy(np.ones((3, 2)), skeleton=MOUSE)
    with pytest.raises(DataError, match=r"expected predicted instances.*dataset=sleap"):
        read(saved(labels_of({0: [person]}), tmp_path / "a.slp"))


def test_animals_of_two_skeletons_are_refused(tmp_path: Path) -> None:
    fly = sleap_files.skeleton("fly", ("head", "tail"))
    other = sleap_io.PredictedInstance.from_numpy(np.ones((2, 2)), skeleton=fly, score=1.0)
    labels = labels_of({0: [animal(np.random.default_rng(0)), other]})
    labels.skeletons.append(fly)
    with pytest.raises(DataError, match="animals of one skeleton, got those of"):
        read(saved(labels, tmp_path / "a.slp"))


def test_frames_far_apart_take_no_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = labels_of({number: [animal(rng)] for number in (0, 1, 2**40)})
    with pytest.raises(DataError, match="would take"):
        read(saved(labels, tmp_path / "a.slp"))


@pytest.mark.parametrize("preset", ["matlab", "standard"])
@pytest.mark.parametrize("seed", range(2))
def test_an_analysis_file_is_read_in_any_order_of_axes(preset: str, seed: int, tmp_path: Path) -> None:
    labels = two_tracks(np.random.default_rng(seed))
    sleap_io.save_analysis_h5(labels, str(tmp_path / "a.h5"), preset=preset)
    poses = read(tmp_path / "a.h5")
    assert (poses.individuals, poses.is_tracked, poses.video) == (("female", "male"), True, "cage.mp4")
    assert poses.skeleton.edges == ((0, 1), (0, 2))
    assert poses.frames.tolist() == list(range(12))
    assert_same(poses, np.pad(labels.numpy(return_confidence=True), [(0, 4), *[(0, 0)] * 3], constant_values=np.nan))
    assert read(tmp_path / "a.h5", is_tracked=False).is_tracked is False


def test_an_analysis_file_of_sleap_itself_has_no_names_of_axes(tmp_path: Path) -> None:
    labels = two_tracks(np.random.default_rng(0))
    path = tmp_path / "a.h5"
    sleap_io.save_analysis_h5(labels, str(path))
    with h5py.File(path, "a") as file:
        expected = file["tracks"][()]
        for name in ("tracks", "point_scores", "instance_scores"):
            del file[name].attrs["dims"]
        del file["point_scores"], file["track_names"]
        file["track_names"] = np.zeros(0)  # as h5py writes an empty list
    poses = read(path)
    np.testing.assert_array_equal(poses.points, expected.transpose(3, 0, 2, 1))
    assert (poses.individuals, poses.is_tracked) == (("animal1", "animal2"), False)
    assert "no scores of keypoints" in poses.notes[0]


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("tracks", np.zeros((2, 2, 4, 12)), "expected tracks of"),
        ("tracks", np.zeros((2, 3, 3, 12)), "expected tracks of"),
        ("tracks", np.zeros((2, 2, 3)), "expected tracks of"),
        ("point_scores", np.zeros((2, 3, 11)), "expected point_scores of"),
        ("point_scores", np.zeros((2, 12)), "expected point_scores over"),
        ("track_names", np.array([b"one"]), "a name for each of 2 tracks, got 1"),
        ("node_names", np.array([b"a", b"a", b"b"]), "stand more than once"),
        ("edge_inds", np.array([[0, 7]]), "joins two of the 3 keypoints"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(name: str, array: np.ndarray, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    sleap_io.save_analysis_h5(two_tracks(np.random.default_rng(0)), str(path))
    with h5py.File(path, "a") as file:
        dims = file[name].attrs.get("dims")
        del file[name]
        file[name] = array
        if dims is not None and array.ndim == 4:
            file[name].attrs["dims"] = dims
    with pytest.raises(DataError, match=says) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dims", ['["track", "xy", "node"]', '{"track": 0, "xy": 0, "node": 0, "frame": 0}', "[[", '"'])
def test_axes_that_no_file_has_are_refused(dims: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    sleap_io.save_analysis_h5(two_tracks(np.random.default_rng(0)), str(path))
    with h5py.File(path, "a") as file:
        file["tracks"].attrs["dims"] = dims
    with pytest.raises(DataError, match=r"a\.h5: .*expected (tracks over|json)") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".slp", ".h5"])
def test_a_truncated_file_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    labels = two_tracks(np.random.default_rng(0))
    if ending == ".slp":
        saved(labels, path)
    else:
        sleap_io.save_analysis_h5(labels, str(path))
    content = path.read_bytes()
    for share in (0.01, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
