"""What is chosen from labels, on data whose camera and animals are known."""

from typing import Any

import numpy as np
import pytest

from dlcpose.augmentations.auto import AugmentationRanges, AutoAugmentation
from dlcpose.datasets.crops import augment, keep_keypoints, whole
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton
from tests.codecs.test_pose_variation import ABOVE, ASIDE, poses_of
from tests.datasets.lit_frames import frame

SKELETON = Skeleton(("nose", "left", "right", "tail"), pairs=((1, 2),))
RNG = np.random.default_rng(0)
MOUSE = poses_of(ABOVE, RNG.uniform(0, 360, 60))
RUNNER = poses_of(ASIDE, RNG.uniform(-6, 6, 60))


def labels(poses: np.ndarray, side: int = 640) -> list[FrameLabels]:
    picture = np.zeros((side, side, 3), np.uint8)
    return [frame(picture, pose[None]).labels for pose in poses]


def chosen(poses: np.ndarray, *, may_crop: bool = True, canvas: int = 640, **settings: Any) -> AugmentationRanges:
    augmentation = AutoAugmentation(**settings)
    ranges, choices = augmentation.choose(labels(poses), SKELETON, Input(canvas, canvas), may_crop=may_crop)
    assert len(choices) == 4
    return ranges


def test_a_camera_above_an_arena_calls_for_all_rotations_and_flips() -> None:
    ranges = chosen(MOUSE)
    assert ranges.rotation == 180
    assert ranges.flip
    assert ranges.crop == (256, 256)  # twice the animal, so that it is within the crop wherever its center lies


def test_a_camera_beside_a_track_calls_for_neither() -> None:
    ranges = chosen(RUNNER)
    assert ranges.rotation == 10
    assert not ranges.flip


def test_what_is_said_of_a_rotation_names_what_decides() -> None:
    for poses, spread, limit in ((MOUSE, "mean direction", ", and one way is below 60"), (RUNNER, "one way", "of it")):
        _, choices = AutoAugmentation().choose(labels(poses), SKELETON, Input(640, 640), may_crop=True)
        assert spread in choices[0]
        assert choices[0].endswith(limit)


def test_crops_are_at_the_scale_of_the_input() -> None:
    assert chosen(MOUSE, canvas=320).crop == (128, 128)


def test_animals_that_fill_the_frame_are_not_cropped() -> None:
    assert chosen(MOUSE * 2.5).crop is None


def test_a_model_for_one_size_gets_whole_frames() -> None:
    assert chosen(MOUSE, may_crop=False).crop is None
    with pytest.raises(ConfigError, match=r"augmentation\.crop"):
        chosen(MOUSE, may_crop=False, crop=128)


def test_what_is_given_is_kept() -> None:
    ranges = chosen(MOUSE, rotation=20.0, flip=False, scale=(0.5, 2.0), crop=96)
    assert ranges == AugmentationRanges(20.0, False, (0.5, 2.0), (96, 96))
    assert chosen(MOUSE, crop=0).crop is None


@pytest.mark.parametrize(
    ("crop", "multiple_of", "expected"), [(1, 32, 32), (100, 32, 128), (128, 14, 140), (None, 14, 448)]
)
def test_crops_are_what_the_backbone_takes(crop: int | None, multiple_of: int, expected: int) -> None:
    canvas = Input(1120, 1120, multiple_of=multiple_of)
    ranges, _ = AutoAugmentation(crop=crop).choose(labels(MOUSE), SKELETON, canvas, may_crop=True)
    assert ranges.crop == (expected, expected)


@pytest.mark.parametrize("settings", [{"rotation": -1.0}, {"rotation": 200.0}, {"scale": (2.0, 1.0)}, {"crop": -5}])
def test_ranges_that_are_none_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"augmentation\.{next(iter(settings))}"):
        AutoAugmentation(**settings)


def test_without_labels_it_is_cautious() -> None:
    ranges = chosen(np.full((4, 4, 2), np.nan))
    assert ranges.rotation <= 15
    assert not ranges.flip
    assert ranges.crop is None


@pytest.mark.parametrize(
    ("frames", "told"), [(1, "1 labeled frame does not show"), (4, "4 labeled frames do not show")]
)
def test_nothing_is_concluded_from_a_few_frames_with_many_animals(frames: int, told: str) -> None:
    picture = np.zeros((640, 640, 3), np.uint8)
    crowded = [frame(picture, MOUSE[4 * number : 4 * number + 4]).labels for number in range(frames)]
    unlabeled = labels(np.full((9, 4, 2), np.nan))
    ranges, choices = AutoAugmentation().choose([*crowded, *unlabeled], SKELETON, Input(640, 640), may_crop=True)
    assert ranges == AugmentationRanges(15.0, False, (1 / 1.15, 1.15), None)
    assert all(f"{told} (at least 5 would)" in choice for choice in choices)


def test_a_few_frames_with_the_arena_do_not_turn_it() -> None:
    skeleton = Skeleton(("nose", "left", "right", "tail"), pairs=((1, 2),), unique=("nw", "ne", "se"))
    corners = np.array([[40.0, 40.0], [600.0, 40.0], [600.0, 600.0]], np.float32)
    unlabeled = np.full_like(corners, np.nan)
    frames = [
        FrameLabels(**{**vars(each), "unique_in_image": corners if place < 2 else unlabeled})
        for place, each in enumerate(labels(MOUSE))
    ]
    ranges, choices = AutoAugmentation().choose(frames, skeleton, Input(640, 640), may_crop=True)
    assert (ranges.rotation, ranges.flip) == (15.0, False)
    assert "2 labeled frames do not show (at least 5 would) which way the arena's keypoints face" in choices[0]


def test_arena_keypoints_are_considered() -> None:
    """Corners of an arena that never turns would be mistaken for each other if it did."""
    skeleton = Skeleton(("nose", "left", "right", "tail"), pairs=((1, 2),), unique=("nw", "ne", "se"))
    corners = np.array([[40.0, 40.0], [600.0, 40.0], [600.0, 600.0]], np.float32)
    frames = [FrameLabels(**{**vars(each), "unique_in_image": corners}) for each in labels(MOUSE)]
    ranges, _ = AutoAugmentation().choose(frames, skeleton, Input(640, 640), may_crop=True)
    assert ranges.rotation == 10
    assert not ranges.flip


def largest_turn(transform: Any, seeds: int = 40) -> float:
    """The largest angle, in degrees, by which a transform turns a frame; 180 where it mirrors."""
    crop = whole(frame(np.zeros((640, 640, 3), np.uint8), MOUSE[:1]))
    turns = [augment(crop, keep_keypoints(transform), SKELETON, seed).crop_to_image for seed in range(seeds)]
    return max(180.0 if np.linalg.det(t[:, :2]) < 0 else abs(np.degrees(np.arctan2(t[1, 0], t[0, 0]))) for t in turns)


def test_it_grows_and_closes_with_frames_that_are_hardly_turned() -> None:
    schedule = AutoAugmentation(flip=False).schedule(labels(MOUSE), SKELETON, Input(640, 640), may_crop=True)
    turns = [largest_turn(phase.transform) for phase in schedule.phases]
    assert turns[0] <= 30.1
    assert 60 < turns[1] <= 90.1
    assert turns[2] > 120
    assert turns[3] <= 30.1
    crop = whole(frame(np.zeros((640, 640, 3), np.uint8), MOUSE[:1]))
    sizes = [augment(crop, keep_keypoints(phase.transform), SKELETON, 0).image.shape for phase in schedule.phases]
    assert sizes == [(256, 256, 3)] * 4  # whole frames at the end cost as much as the run before them


def test_flips_join_once_the_keypoints_are_found() -> None:
    phases = AutoAugmentation(rotation=10.0, flip=True).schedule(
        labels(MOUSE), SKELETON, Input(640, 640), may_crop=True
    )
    assert [largest_turn(phase.transform) == 180 for phase in phases.phases] == [False, False, True, True]


def test_a_camera_that_never_turns_stays_as_it_is() -> None:
    schedule = AutoAugmentation().schedule(labels(RUNNER), SKELETON, Input(640, 640), may_crop=False)
    assert max(largest_turn(phase.transform, 10) for phase in schedule.phases) <= 10.1
