"""From the poses of teachers to a student's labels, with teachers whose poses are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dlcpose.datasets.pseudo_labeled import PREFIX, JoinedFrames
from dlcpose.datasets.splits import block
from dlcpose.datasets.video import video_info
from dlcpose.exporters.pose_file import write_pose_tracks
from dlcpose.postprocessing.pseudo_labels import EnsemblePseudoLabels
from dlcpose.structures.errors import DataError
from dlcpose.structures.skeleton import Skeleton
from dlcpose.training.pseudo_labels import PseudoLabelStage
from dlcpose.unlabeled.video import UnlabeledVideos
from tests.datasets.numbered_videos import number_of, write_numbered
from tests.made_up_runs import frames_of
from tests.structures.made_up_tracks import made_up_tracks

FRAMES = 60


def true_poses() -> np.ndarray:
    """Two animals of four keypoints that pass each other at a distance: (T, 2, 4, 2) within 200 x 300 px."""
    shape = np.array([[0.0, 0.0], [12.0, 5.0], [12.0, -5.0], [25.0, 0.0]])
    across = np.linspace(30, 240, FRAMES)
    places = np.stack([np.stack([across, 60 + 0 * across], -1), np.stack([270 - across, 140 + 0 * across], -1)], 1)
    return places[:, :, None] + shape


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PseudoLabelStage:
    """Three teachers that find the animals in any order, 0.3 px off; two of them see a keypoint elsewhere for a while."""
    video = write_numbered(tmp_path / "cage.mp4", FRAMES, size=(200, 300))
    tracks = made_up_tracks(frames=FRAMES, missing=0.0, is_tracked=False, size=(200, 300))
    for teacher in range(3):
        rng = np.random.default_rng(teacher)
        points = true_poses() + rng.normal(0, 0.3, (FRAMES, 2, 4, 2))
        if teacher:
            points[20:30, 0, 1] += (-1) ** teacher * np.array([6.0, 9.0])
        swapped = rng.random(FRAMES) < 0.5
        points[swapped] = points[swapped][:, ::-1]
        poses = replace(
            tracks,
            keypoints_in_image=points.astype(np.float32),
            keypoint_scores=np.full((FRAMES, 2, 4), 0.9, np.float32),
            scores=np.full((FRAMES, 2), 0.9, np.float32),
            boxes_in_image=np.full((FRAMES, 2, 4), np.nan, np.float32),
            video=video_info(video),
        )
        folder = tmp_path / "run" / "predictions" / f"teacher_{teacher + 1}"
        folder.mkdir(parents=True)
        write_pose_tracks(folder / "00_cage.poses.h5", poses)
    monkeypatch.setattr(PseudoLabelStage, "_predict", lambda *_: None)
    data = frames_of(10, animals=2)
    data.skeleton = tracks.skeleton
    return PseudoLabelStage(
        settings=EnsemblePseudoLabels(frames=12, max_deviation=1.0),
        videos=UnlabeledVideos([str(video)], {}),
        checkpoints=(Path("a"), Path("b"), Path("c")),
        folder=tmp_path / "run",
        data=data,
        split=block(data),
        seed=0,
        trust=(),
        device="cpu",
    )


def test_animals_of_several_teachers_are_matched_tracked_smoothed_and_labeled(stage: PseudoLabelStage) -> None:
    stage.make()
    labels = stage.read().frames
    assert len(labels) == 12
    for index, frame in enumerate(labels.frames):
        assert number_of(labels[index].image) == frame.frame_index
        expected = true_poses()[frame.frame_index]
        found = sorted(frame.keypoints_in_image, key=lambda points: points[:, 1].mean())
        np.testing.assert_allclose(found, expected, atol=0.8)
    rows = (stage.folder / "frames.csv").read_text().splitlines()
    assert len(rows) == 13
    before = (stage.dataset / "annotations.json").stat().st_mtime_ns
    stage.make()  # is done
    assert (stage.dataset / "annotations.json").stat().st_mtime_ns == before


def test_pseudo_labels_stand_behind_the_labels_and_are_in_no_split(stage: PseudoLabelStage) -> None:
    stage.make()
    joined = JoinedFrames(stage.data, stage.read().frames)
    assert joined.frames[: len(stage.data)] == list(stage.data.frames)
    assert all(frame.key.startswith(PREFIX) for frame in joined.frames[len(stage.data) :])
    assert number_of(joined[len(stage.data)].image) == joined.frames[len(stage.data)].frame_index
    np.testing.assert_array_equal(joined.read_image(3), stage.data.read_image(3))
    stage.data.skeleton = Skeleton(("nose",))
    with pytest.raises(DataError, match="pseudo_labels: expected the keypoints"):
        JoinedFrames(stage.data, stage.read().frames)


def labels_in(stage: PseudoLabelStage, video: str, every: int) -> PseudoLabelStage:
    """The stage with its labels in a video, each `every` frames."""
    frames = [replace(frame, video=video, frame_index=every * number) for number, frame in enumerate(stage.data.frames)]
    data = frames_of(10, animals=2)
    data.frames = frames
    return replace(stage, data=data, split=block(data))


def test_videos_without_a_frame_to_label_are_refused_before_the_teachers_are_trained(stage: PseudoLabelStage) -> None:
    stage.check()
    labels_in(stage, "cage", every=1).check()  # 60 frames of which 10 are labeled, and 25 behind these near them
    labels_in(stage, "elsewhere", every=7).check()
    nothing = (
        (labels_in(stage, "cage", every=1), {"stop": 20}, "all frames of .*cage.mp4 are labeled already"),
        (stage, {"start": 60}, "cage.mp4: expected more than unlabeled.start=60 frames, got 60"),
    )
    for one, settings, said in nothing:
        videos = UnlabeledVideos(stage.videos.videos, {}, **settings)
        with pytest.raises(DataError, match=said):
            replace(one, videos=videos).check()
    stage.videos.paths[0].write_bytes(b"no video")
    with pytest.raises(DataError, match=r"cage\.mp4"):
        stage.check()
