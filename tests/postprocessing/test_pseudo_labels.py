from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcpose.postprocessing.pseudo_labels import EnsemblePseudoLabels, Labeled, PseudoLabeledVideos
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.pose_tracks import PoseTracks
from tests.datasets.numbered_videos import number_of, write_numbered
from tests.structures.made_up_tracks import made_up_tracks

NONE = np.zeros(0, np.int64)


def smoothed(frames: int = 200, animals: int = 1) -> PoseTracks:
    """Poses that are all sure."""
    tracks = made_up_tracks(frames=frames, animals=animals, missing=0.0)
    scores = np.full(tracks.keypoint_scores.shape, 0.9, np.float32)
    return replace(tracks, keypoint_scores=scores, keypoint_spreads=np.full_like(scores, 0.5))


def chosen_of(tracks: PoseTracks, settings: EnsemblePseudoLabels, labeled: Labeled | None = None) -> list[int]:
    return settings.choose(tracks, labeled or Labeled(NONE, NONE), settings.frames, np.random.default_rng(0))


def test_frames_with_an_unsure_missing_or_absent_keypoint_are_not_chosen() -> None:
    tracks = smoothed(animals=2)
    assert tracks.keypoint_spreads is not None
    tracks.keypoint_scores[0:20, 0] = 0.2
    tracks.keypoint_spreads[20:40, 1, 2] = 5.0
    tracks.keypoints_in_image[40:60, 1] = np.nan  # an animal that is not there
    tracks.keypoints_in_image[60:80, 1, :2] = np.nan  # a quarter of the keypoints
    settings = EnsemblePseudoLabels(frames=40, max_deviation=1.0)
    rows, deviations = settings.sure_rows(tracks)
    assert rows.min() == 80
    assert deviations[30] == pytest.approx(((25 + 7 * 0.25) / 8) ** 0.5)
    assert min(chosen_of(tracks, settings)) >= 80
    assert replace(settings, max_missing=0.25).sure_rows(tracks)[0].min() == 60


def test_without_a_limit_the_surer_half_of_the_frames_is_chosen_from() -> None:
    tracks = smoothed()
    assert tracks.keypoint_spreads is not None
    tracks.keypoint_spreads[:] = np.linspace(0, 3, 200)[:, None, None]
    rows, _ = EnsemblePseudoLabels().sure_rows(tracks)
    assert 99 <= len(rows) <= 101
    assert rows.max() <= 100


def test_chosen_poses_differ() -> None:
    tracks = smoothed(400)
    points = tracks.keypoints_in_image.copy()
    points[300:] += np.float32(200)  # elsewhere
    rows = chosen_of(replace(tracks, keypoints_in_image=points), EnsemblePseudoLabels(frames=8))
    assert len(rows) == 8
    assert {row >= 300 for row in rows} == {True, False}


def test_of_each_kind_of_pose_the_surest_is_chosen() -> None:
    tracks = smoothed(30)
    assert tracks.keypoint_spreads is not None
    kinds = np.arange(30) % 3
    points = np.float32(100) * kinds[:, None, None, None] + tracks.keypoints_in_image[:1]
    tracks.keypoint_spreads[:] = np.linspace(2, 1, 30)[:, None, None]
    rows = chosen_of(replace(tracks, keypoints_in_image=points), EnsemblePseudoLabels(frames=3, max_deviation=3.0))
    assert rows == [27, 28, 29]


def test_labeled_frames_and_a_second_around_those_of_validation_and_test_are_left_out() -> None:
    labeled = Labeled(train=np.array([5]), held_out=np.array([100]))  # 25 frames a second
    rows = chosen_of(smoothed(), EnsemblePseudoLabels(frames=190), labeled)
    assert 5 not in rows
    assert not {*range(75, 126)} & {*rows}
    assert {4, 6, 74, 126} <= {*rows}


def test_labels_are_the_smoothed_poses_on_the_frames_of_the_video(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "cage.mp4", 30)
    tracks = smoothed(30)
    tracks = replace(tracks, video=replace(tracks.video, path=str(path), height=48, width=80))
    data = PseudoLabeledVideos(tracks.skeleton, (), [tracks], [[3, 17]], 0.3)
    assert [number_of(data[index].image) for index in range(2)] == [3, 17]
    for frame, row in zip(data.frames, (3, 17), strict=True):
        np.testing.assert_array_equal(frame.keypoints_in_image, tracks.keypoints_in_image[row])
    with pytest.raises(DataError, match=r"pseudo_labels\.min_score"):
        PseudoLabeledVideos(tracks.skeleton, (), [tracks], [[]], 0.3)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"teachers": 1}, "two teachers"),
        ({"frames": 0}, r"pseudo_labels\.frames"),
        ({"share": 1.0}, r"pseudo_labels\.share"),
        ({"min_score": 2.0}, r"pseudo_labels\.min_score"),
        ({"max_deviation": 0.0}, r"pseudo_labels\.max_deviation"),
        ({"max_missing": 1.0}, r"pseudo_labels\.max_missing"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        EnsemblePseudoLabels(**settings)
    assert EnsemblePseudoLabels(teachers=0, checkpoints=["a", "b"]).checkpoints == ["a", "b"]
