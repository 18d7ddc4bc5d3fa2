import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from dlcpose.datasets.synthetic.arena import LANDMARKS
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.sample import FrameLabels

CONF = Path(__file__).parents[3] / "conf" / "dataset" / "synthetic.yaml"
CLEAR: dict[str, Any] = {"occlusion": 0.0, "frames": 24}
# A head and a tail: neither can hide the other, so that only cover and other animals hide a keypoint.
TADPOLE = [
    {"name": "head", "radius": 0.25},
    {"name": "tail", "parent": "head", "forward": -0.6, "radius": 0.08, "base": 0.15, "swing": 0.5},
]


def assert_same_labels(first: FrameLabels, second: FrameLabels) -> None:
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def marked(joint: str | None, *, radius: float = 0.06) -> dict[str, Any]:
    """The tadpole with a mark painted on a joint, or on none."""
    return {"joints": TADPOLE, "marks": [] if joint is None else [{"joint": joint, "radius": radius, "tint": "eye"}]}


def change(first: SyntheticFrames, second: SyntheticFrames, index: int) -> np.ndarray:
    """(H, W) how far two renderings of a frame differ."""
    difference = first.read_image(index).astype(float) - second.read_image(index).astype(float)
    return np.abs(difference).sum(axis=-1)


def test_the_same_seed_gives_the_same_frames_and_another_seed_others() -> None:
    options: dict[str, Any] = {"frames": 9, "animals": 2, "unique_points": 5, "identity_marks": True}
    first, again, other = (SyntheticFrames(seed=seed, **options) for seed in (3, 3, 4))
    for index in range(9):
        assert_same_labels(first.frames[index], again.frames[index])
        np.testing.assert_array_equal(first.read_image(index), again.read_image(index))
        assert not np.array_equal(first.read_image(index), other.read_image(index))
        assert not np.array_equal(first.frames[index].areas, other.frames[index].areas)


def test_a_frame_alone_is_the_frame_in_the_sequence() -> None:
    many, few = SyntheticFrames(frames=30, animals=2), SyntheticFrames(frames=14, animals=2)
    in_sequence = [many.read_image(index) for index in range(30)]
    np.testing.assert_array_equal(few.read_image(13), in_sequence[13])
    np.testing.assert_array_equal(many.read_image(5), in_sequence[5])
    assert_same_labels(few.frames[13], many.frames[13])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(few))[7].image, in_sequence[7])


@pytest.mark.parametrize(("height", "width"), [(128, 128), (90, 161)])
@pytest.mark.parametrize("joint", ["head", "tail"])
def test_a_mark_painted_on_a_keypoint_is_seen_where_its_label_lies(joint: str, height: int, width: int) -> None:
    options: dict[str, Any] = {**CLEAR, "height": height, "width": width, "animal_length": 0.35}
    plain, painted = (
        SyntheticFrames(skeleton=marked(None), **options),
        SyntheticFrames(skeleton=marked(joint), **options),
    )
    measured = 0
    for index, frame in enumerate(painted.frames):
        assert frame.visibility.shape == (1, 2)
        x, y = frame.keypoints_in_image[0, painted.skeleton.names.index(joint)]
        if not (8 < x < width - 8 and 8 < y < height - 8):
            continue
        # Paint changes what is brightly lit by more: as a share of the brightness the mark is even.
        changed = change(painted, plain, index) / (plain.read_image(index).sum(axis=-1) + 1.0)
        rows, columns = np.indices(changed.shape)
        center = (changed * columns).sum() / changed.sum(), (changed * rows).sum() / changed.sum()
        np.testing.assert_allclose(center, (x, y), atol=0.25)
        measured += 1
    assert measured > 12


def test_a_keypoint_is_visible_exactly_where_a_mark_on_it_can_be_seen() -> None:
    options: dict[str, Any] = {"frames": 60, "animals": 3, "occlusion": 0.25, "animal_length": 0.45, "seed": 1}
    plain = SyntheticFrames(skeleton=marked(None), **options)
    painted = SyntheticFrames(skeleton=marked("head", radius=0.05), **options)
    counts = {1: 0, 2: 0}
    for index, frame in enumerate(painted.frames):
        changed = change(painted, plain, index)
        heads = frame.keypoints_in_image[:, 0]
        for (x, y), visibility in zip(heads, frame.visibility[:, 0], strict=True):
            if not visibility or (np.hypot(*(heads - (x, y)).T) < 7).sum() > 1:
                continue  # outside, or beside another head whose mark would be taken for this one's
            row, column = round(float(y)), round(float(x))
            share = changed[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] / max(changed.max(), 100)
            if share.max() < 0.05 or share.min() > 0.6:  # else the edge of what covers runs close by
                assert (share.min() > 0.6) == (visibility == 2), (index, x, y)
                counts[int(visibility)] += 1
    assert min(counts.values()) > 15


def test_cover_hides_about_its_share_of_the_keypoints() -> None:
    covered, clear = (
        np.concatenate([frame.visibility for frame in SyntheticFrames(skeleton=marked(None), **options).frames])
        for options in ({"frames": 300, "videos": 50, "occlusion": 0.2}, {**CLEAR})
    )
    assert (clear != 1).all()
    assert 0.1 < (covered == 1).sum() / (covered > 0).sum() < 0.35


def test_points_outside_the_image_are_missing_and_animals_that_left_are_not_there() -> None:
    data = SyntheticFrames(frames=300, animals=(1, 4), skeleton="mouse", height=96, width=140)
    assert len(data.individuals) == data.max_animals == 4
    counts = {len(frame) for frame in data.frames}
    assert max(counts) == 4
    assert 1 <= min(counts) < 4
    missing = 0
    for frame in data.frames:
        points = frame.keypoints_in_image
        known = ~np.isnan(points).any(axis=-1)
        np.testing.assert_array_equal(known, frame.visibility > 0)
        assert known.any(axis=-1).all()
        assert (points[known] >= 0).all()
        assert (points[known] <= (139, 95)).all()
        assert 0 in frame.identities  # the first one never leaves
        missing += int((~known).sum())
    assert missing > 100


def test_constant_number_of_animals_per_video_without_coming_and_going() -> None:
    data = SyntheticFrames(frames=80, videos=8, animals=(2, 5), coming_and_going=False, animal_length=0.2, roam=0.3)
    counts = {video: {len(frame.keypoints_in_image) for frame in data.frames[video::8]} for video in range(8)}
    assert all(len(numbers) == 1 for numbers in counts.values())
    assert sorted(number for (number,) in counts.values()) == [2, 2, 3, 3, 4, 4, 5, 5]
    assert data.max_animals == 5


@pytest.mark.parametrize("roam", [0.25, 0.4])
def test_animals_that_stay_keep_to_their_share_of_the_picture(roam: float) -> None:
    length = 0.1  # from nose to the root of the tail; no keypoint is much farther from the middle
    data = SyntheticFrames(frames=300, height=200, width=200, animals=2, animal_length=length, roam=roam)
    away = np.concatenate([np.abs(frame.keypoints_in_image - 99.5).reshape(-1, 2) for frame in data.frames]) / 200
    assert roam - 0.1 < np.nanmax(away) < roam + 2 * length


def test_boxes_hold_the_animal_and_areas_fit_into_them() -> None:
    data = SyntheticFrames(frames=100, animals=2, skeleton="fly")
    for frame in data.frames:
        for points, box, area in zip(frame.keypoints_in_image, frame.boxes_in_image, frame.areas, strict=True):
            inside = points[~np.isnan(points).any(axis=-1)]
            assert (inside >= box[:2] - 1e-3).all()
            assert (inside <= box[2:] + 1e-3).all()
            width, height = box[2:] - box[:2] + 1
            assert 0.05 * width * height < area <= width * height


def test_an_animal_changes_the_picture_inside_its_box_only_but_for_its_shadow() -> None:
    alone, empty = SyntheticFrames(animals=1, **CLEAR), SyntheticFrames(animals=0, **CLEAR)
    assert empty.frames[0].keypoints_in_image.shape == (0, len(empty.skeleton), 2)
    for index, frame in enumerate(alone.frames):
        rows, columns = np.nonzero(change(alone, empty, index) > 3)
        left, top, right, bottom = frame.boxes_in_image[0]
        reach = 12  # of the shadow
        assert columns.min() > left - reach
        assert rows.min() > top - reach
        assert columns.max() < right + reach
        assert rows.max() < bottom + reach
        assert len(rows) >= 0.85 * frame.areas[0]


def test_marked_individuals_wear_their_colors_in_every_video() -> None:
    data = SyntheticFrames(frames=64, animals=3, skeleton="mouse", identity_marks=True, **{"occlusion": 0.0})
    assert data.has_identities
    hues: dict[int, list[float]] = {0: [], 1: [], 2: []}
    back = data.skeleton.names.index("back")
    for index, frame in enumerate(data.frames):
        hsv = cv2.cvtColor(data.read_image(index), cv2.COLOR_RGB2HSV_FULL)
        for point, visible, identity in zip(
            frame.keypoints_in_image[:, back], frame.visibility[:, back], frame.identities, strict=True
        ):
            if visible == 2:
                column, row = np.round(point).astype(int)
                hues[int(identity)].append(float(hsv[row, column, 0]) / 255 * 2 * np.pi)
    means = {identity: np.exp(1j * np.array(values)).mean() for identity, values in hues.items()}
    assert all(abs(mean) > 0.9 for mean in means.values())  # one hue over all videos
    angles = [np.angle(means[first] / means[second]) for first, second in ((0, 1), (1, 2), (2, 0))]
    assert np.abs(angles).min() > 0.7


def test_animals_of_a_video_move_a_little_from_frame_to_frame() -> None:
    data = SyntheticFrames(frames=160, videos=2, animals=2, skeleton="quadruped", seconds_between_frames=0.02, **{})
    for video in (0, 1):
        frames = [frame for frame in data.frames if frame.video == f"rendered{video}"]
        assert [frame.frame_index for frame in frames] == list(range(80))
        for before, after in pairwise(frames):
            np.testing.assert_array_equal(before.identities, after.identities)
            step = np.linalg.norm(after.keypoints_in_image - before.keypoints_in_image, axis=-1)
            assert np.nanmax(step) < 6
            assert np.nanmax(step) > 0


def test_landmarks_are_drawn_where_they_are_labeled() -> None:
    for place in range(1, len(LANDMARKS)):
        fewer, more = (
            SyntheticFrames(frames=8, animals=0, occlusion=0.0, unique_points=count) for count in (place, place + 1)
        )
        assert more.skeleton.unique == LANDMARKS[: place + 1]
        for index, frame in enumerate(more.frames):
            rows, columns = np.nonzero(change(more, fewer, index) > 60)
            middle = ((columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2)
            np.testing.assert_allclose(middle, frame.unique_in_image[place], atol=1.0)
            np.testing.assert_allclose((columns.mean(), rows.mean()), frame.unique_in_image[place], atol=0.5)


def test_landmarks_under_an_animal_or_cover_are_missing() -> None:
    data = SyntheticFrames(frames=200, animals=4, unique_points=6, occlusion=0.15)
    missing = np.isnan([frame.unique_in_image for frame in data.frames]).any(axis=-1)
    assert 0.02 < missing.mean() < 0.5
    assert data.skeleton.unique_pairs == ((0, 1), (2, 3))


def test_the_option_file_names_this_class_and_its_arguments() -> None:
    options = yaml.safe_load(CONF.read_text())
    assert options.pop("_target_") == f"{SyntheticFrames.__module__}.{SyntheticFrames.__qualname__}"
    data = SyntheticFrames(**{**options, "frames": 16})
    assert data[3].image.shape == (options["height"], options["width"], 3)
    assert data.stored_split is None
    assert len({frame.key for frame in data.frames}) == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames"),
        ({"animals": [3, 1]}, "animals"),
        ({"animals": [1, 2, 3]}, "animals"),
        ({"height": 8}, "height and width"),
        ({"occlusion": 0.9}, "occlusion"),
        ({"roam": 0.1}, "roam"),
        ({"unique_points": 7}, "unique_points"),
        ({"seed": -1}, "seed"),
        ({"animal_length": 0.0}, "animal_length"),
        ({"seconds_between_frames": 0}, "seconds_between_frames"),
        ({"skeleton": "horse"}, "skeleton"),
    ],
)
def test_numbers_that_make_no_picture_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SyntheticFrames(**{"frames": 1, **options})
