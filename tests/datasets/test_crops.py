"""Image and labels go the same way, and the way back is known, whatever is done to them."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dlcpose.augmentations.base import compose_transforms
from dlcpose.codecs.affine import apply_affine
from dlcpose.datasets.crops import augment, fit_to_canvas, keep_keypoints, whole
from dlcpose.instantiate import Instantiator
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input, letterbox, native, resize
from dlcpose.structures.sample import PoseCrop, PoseSample
from dlcpose.structures.skeleton import Skeleton
from tests.datasets.lit_frames import block, centroid, frame, lit

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(path.stem for path in (CONF / "augmentation").glob("*.yaml"))
NOISE = {"GaussNoise", "MotionBlur", "CoarseDropout", "ColorJitter", "RandomBrightnessContrast", "ToGray", "ISONoise"}
XY = A.KeypointParams(format="xy")
SKELETON = Skeleton(
    ("nose", "left", "right"), pairs=((1, 2),), unique=("door left", "door right"), unique_pairs=((0, 1),)
)
NO_ARENA = Skeleton(SKELETON.names, pairs=SKELETON.pairs)

inputs = st.sampled_from(["native", "letterbox", "resize"])
sides = st.integers(1, 90)
seeds = st.integers(0, 2**31 - 1)


def input_of(kind: str, height: int, width: int, multiple: int = 8) -> Input:
    """Each option of conf/input, with sizes that suit small pictures."""
    made = {
        "native": lambda: native([(height, width)], multiple),
        "letterbox": lambda: letterbox([(height, width), (40, 70)], multiple, longest_side=64),
        "resize": lambda: resize([(height, width)], multiple, height=48, width=72),
    }
    return made[kind]()


def of_option(option: str, *, geometry_only: bool = False, always: bool = False) -> A.Compose:
    """An option's transform at its strongest; without what only changes pixels, or with every step taken."""
    node = yaml.safe_load((CONF / "augmentation" / f"{option}.yaml").read_text())
    augmentation = Instantiator()(node, "augmentation")
    frames = [two_animals(100, 130, seed).labels for seed in range(20)]
    schedule = augmentation.schedule(frames, SKELETON, Input(100, 130), may_crop=True)
    steps = copy.deepcopy(list(schedule.strongest.transform.transforms))
    steps = [step for step in steps if not (geometry_only and type(step).__name__ in NOISE)]
    for step in steps if always else ():
        step.p = 1.0
    return keep_keypoints(compose_transforms(steps))


def compose_of(*steps: Any, **settings: Any) -> A.Compose:
    return keep_keypoints(A.Compose(list(steps), keypoint_params=XY, **settings))


def two_animals(height: int, width: int, seed: int) -> PoseSample:
    """One that may lie partly outside and misses points, one hidden in part; boxes that hold their labeled points."""
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(-0.3, 1.3, (2, 3, 2)) * (width, height)
    keypoints[0, 1] = np.nan
    boxes = np.concatenate([np.nanmin(keypoints, axis=1) - 2, np.nanmax(keypoints, axis=1) + 2], axis=1)
    return frame(
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        keypoints,
        visibility=np.array([[2, 0, 1], [1, 2, 2]]),
        boxes_in_image=boxes.astype(np.float32),
        areas=np.array([30.0, np.nan], np.float32),
        identities=np.array([4, -1]),
        unique_in_image=np.array([[3.0, 4.0], [np.nan, np.nan]], np.float32),
    )


def unmirrored(crop: PoseCrop) -> PoseCrop:
    """Names as they were before a mirror, if there was one."""
    if np.linalg.det(crop.crop_to_image[:, :2]) > 0:
        return crop
    order, unique_order = list(SKELETON.flip_order), list(SKELETON.unique_flip_order)
    return replace(
        crop,
        keypoints_in_crop=crop.keypoints_in_crop[:, order],
        visibility=crop.visibility[:, order],
        unique_in_crop=crop.unique_in_crop[unique_order],
    )


def assert_goes_back(crop: PoseCrop, sample: PoseSample, atol: float = 1e-3) -> None:
    back, labels = unmirrored(crop), sample.labels
    np.testing.assert_allclose(
        apply_affine(crop.crop_to_image, back.keypoints_in_crop.astype(float)), labels.keypoints_in_image, atol=atol
    )
    np.testing.assert_allclose(
        apply_affine(crop.crop_to_image, back.unique_in_crop.astype(float)), labels.unique_in_image, atol=atol
    )
    np.testing.assert_array_equal(back.visibility, labels.visibility)
    np.testing.assert_array_equal(back.identities, labels.identities)


def assert_boxes_hold_their_animals(crop: PoseCrop) -> None:
    low, high = crop.boxes_in_crop[:, None, :2], crop.boxes_in_crop[:, None, 2:]
    points = crop.keypoints_in_crop
    known = ~np.isnan(points).any(axis=-1)
    assert ((points >= low - 1e-2) & (points <= high + 1e-2)).all(axis=-1)[known].all()


def test_there_are_options() -> None:
    assert {"none", "auto"} <= set(OPTIONS)


@given(sides, sides, inputs, seeds)
def test_points_on_the_canvas_go_back_to_the_image(height: int, width: int, kind: str, seed: int) -> None:
    sample = two_animals(height, width, seed)
    crop = fit_to_canvas(sample, input_of(kind, height, width))
    assert_goes_back(crop, sample)
    assert_boxes_hold_their_animals(crop)
    canvas = input_of(kind, height, width).canvas
    assert crop.image.shape[:2] == (canvas or (-(-height // 8) * 8, -(-width // 8) * 8))
    assert crop.image.dtype == np.uint8


@pytest.mark.parametrize("option", OPTIONS)
@given(sides, sides, inputs, seeds)
def test_augmented_points_go_back_to_the_image(option: str, height: int, width: int, kind: str, seed: int) -> None:
    sample = two_animals(height, width, seed)
    placed = fit_to_canvas(sample, input_of(kind, height, width))
    crop = augment(placed, of_option(option), SKELETON, seed)
    assert_goes_back(crop, sample, atol=1e-3 * max(1, abs(crop.crop_to_image[:, :2]).max()))
    assert_boxes_hold_their_animals(crop)
    assert crop.key == sample.labels.key
    # NaN stays NaN, and what left the frame or is hidden is still there.
    assert np.isnan(crop.keypoints_in_crop).sum() == 2
    assert np.isnan(crop.unique_in_crop).sum() == 2
    scale = abs(np.linalg.det(crop.crop_to_image[:, :2]))
    np.testing.assert_allclose(crop.areas * scale, sample.labels.areas, rtol=1e-3)


@pytest.mark.parametrize("kind", ["native", "letterbox", "resize"])
@settings(max_examples=15, deadline=None)
@given(st.integers(30, 150), st.integers(30, 150), st.data())
def test_the_lit_block_is_at_its_keypoint_on_the_canvas(kind: str, height: int, width: int, data: Any) -> None:
    assume(max(height, width) < 3 * min(height, width))
    x, y = data.draw(st.integers(6, width - 7)), data.draw(st.integers(6, height - 7))
    sample = frame(block(height, width, x, y), np.array([[[x, y]] * 3]))
    crop = fit_to_canvas(sample, input_of(kind, height, width))
    np.testing.assert_allclose(centroid(crop.image, floor=0), crop.keypoints_in_crop[0, 0], atol=0.5)


@given(st.integers(50, 160), st.integers(50, 160), st.integers(50, 160), st.integers(50, 160), st.integers(0, 99))
def test_a_stretched_spot_is_at_its_keypoint(height: int, width: int, to_height: int, to_width: int, seed: int) -> None:
    x, y = np.random.default_rng(seed).uniform(18, (width - 19, height - 19))
    stretched = Input(to_height, to_width, keep_aspect=False)
    crop = fit_to_canvas(frame(lit(height, width, x, y, sigma=4.0), np.array([[[x, y]] * 3])), stretched)
    np.testing.assert_allclose(centroid(crop.image, floor=0.02), crop.keypoints_in_crop[0, 0], atol=0.1)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("always", [False, True])
def test_the_lit_block_is_at_its_keypoint_after_augmentation(option: str, always: bool) -> None:
    transform, seen = of_option(option, geometry_only=True, always=always), 0
    for seed in range(30):
        x, y = np.random.default_rng(seed).integers(20, (109, 79))
        sample = frame(block(100, 130, x, y), np.array([[[x, y]] * 3]))
        crop = augment(fit_to_canvas(sample, native([(100, 130)], 2)), transform, NO_ARENA, seed)
        expected = crop.keypoints_in_crop[0, 0]
        if (expected < 5).any() or (expected > (124, 94)).any():
            continue
        np.testing.assert_allclose(centroid(crop.image), expected, atol=0.3)
        seen += 1
    assert seen > 10


@pytest.mark.parametrize("option", OPTIONS)
def test_the_lit_spot_is_near_its_keypoint_under_all_the_noise(option: str) -> None:
    transform, found = of_option(option), []
    for seed in range(40):
        x, y = np.random.default_rng(seed).uniform(20, (109, 79))
        sample = frame(lit(100, 130, x, y), np.array([[[x, y]] * 3]))
        crop = augment(fit_to_canvas(sample, native([(100, 130)], 2)), transform, NO_ARENA, seed)
        expected = crop.keypoints_in_crop[0, 0]
        if (expected > 12).all() and (expected < (117, 87)).all():
            found.append(np.abs(centroid(crop.image) - expected).max())
    # A patch that hides half of the spot moves its centroid: most spots are whole.
    assert np.median(found) < 0.25
    assert np.mean(np.array(found) < 0.5) >= 0.6


RESIZING = {
    "resize up": A.Resize(200, 300),
    "resize down": A.Resize(50, 60),
    "random scale": A.RandomScale((0.37, 0.37), p=1),
    "random scale down": A.RandomScale((-0.47, -0.47), p=1),
    "longest side": A.LongestMaxSize(203),
    "longest side down": A.LongestMaxSize(50),
    "smallest side": A.SmallestMaxSize(61),
    "cut and resize": A.RandomResizedCrop((150, 140), scale=(0.6, 1.0)),
    "cut and resize again": A.RandomSizedCrop((60, 80), (150, 140)),
    "crop and pad": A.CropAndPad(percent=-0.1, p=1),
    "crop and pad out": A.CropAndPad(percent=0.13, p=1),
    "within one of": A.OneOf([A.Resize(120, 300, p=0.3), A.Resize(200, 180, p=0.7)], p=1),
    "sometimes": A.Resize(200, 300, p=0.5),
    "among others": A.Sequential([A.HorizontalFlip(p=1), A.Resize(170, 250), A.Affine(rotate=20, p=1)], p=1),
    "inner composition": A.Compose([A.Resize(40, 60), A.Resize(160, 240)]),
}
BENDING = {
    "elastic": A.ElasticTransform(alpha=60, sigma=12, p=1),
    "optical": A.OpticalDistortion(distort_limit=0.3, p=1),
    "sometimes elastic": A.OneOf([A.ElasticTransform(alpha=60, sigma=12), A.NoOp()], p=1),
}
OTHERS = {
    "affine": A.Affine(rotate=(-180, 180), scale=(0.7, 1.3), shear=(-10, 10), p=1),
    "affine fitted": A.Affine(rotate=(-90, 90), fit_output=True, p=1),
    "shift scale rotate": A.ShiftScaleRotate(p=1),
    "rotate": A.Rotate(p=1),
    "rotate by 90": A.RandomRotate90(p=1),
    "flip": A.HorizontalFlip(p=1),
    "vertical": A.VerticalFlip(p=1),
    "transpose": A.Transpose(p=1),
    "any of the square": A.D4(p=1),
    "pad": A.PadIfNeeded(200, 201, p=1),
    "crop": A.CenterCrop(70, 90, p=1),
}


@pytest.mark.parametrize("name", [*RESIZING, *BENDING, *OTHERS])
def test_the_lit_spot_is_at_its_keypoint_after_the_users_own_transforms(name: str) -> None:
    transform, seen = compose_of({**RESIZING, **BENDING, **OTHERS}[name]), 0
    for seed in range(12):
        x, y = np.random.default_rng(seed).uniform(25, (95, 54))
        crop = augment(whole(frame(lit(80, 121, x, y), np.array([[[x, y]] * 3]))), transform, NO_ARENA, seed)
        height, width = crop.image.shape[:2]
        expected, room = crop.keypoints_in_crop[0, 0], 10 * max(1.0, height / 80)
        if (expected < room).any() or (expected > (width - room, height - room)).any():
            continue
        np.testing.assert_allclose(centroid(crop.image, floor=0.02), expected, atol=0.15)
        seen += 1
    assert seen >= 3


@pytest.mark.parametrize("name", [*RESIZING, *OTHERS])
def test_the_users_own_affine_transforms_go_back(name: str) -> None:
    transform = compose_of({**RESIZING, **OTHERS}[name])
    for seed in range(5):
        sample = two_animals(80, 121, seed)
        crop = augment(whole(sample), transform, SKELETON, seed)
        assert_goes_back(crop, sample)
        assert_boxes_hold_their_animals(crop)


@pytest.mark.parametrize("name", BENDING)
def test_bent_images_lose_no_points(name: str) -> None:
    crop = augment(whole(two_animals(80, 121, 3)), compose_of(BENDING[name]), SKELETON, 0)
    assert np.isnan(crop.keypoints_in_crop).sum() == 2
    assert crop.keypoints_in_crop.shape == (2, 3, 2)


# ---------------------------------------------------------------------------------------------------- mirrors


@pytest.mark.parametrize("mirror", [A.HorizontalFlip(p=1), A.VerticalFlip(p=1), A.Transpose(p=1)])
def test_a_mirror_swaps_left_and_right_of_every_animal(mirror: A.BasicTransform) -> None:
    sample = two_animals(60, 80, 5)
    crop = augment(whole(sample), compose_of(mirror), SKELETON, 0)
    plain = apply_affine(
        np.linalg.inv(np.vstack([crop.crop_to_image, [0, 0, 1]]))[:2], sample.labels.keypoints_in_image
    )
    np.testing.assert_allclose(crop.keypoints_in_crop, plain[:, [0, 2, 1]], atol=1e-3)
    np.testing.assert_array_equal(crop.visibility, sample.labels.visibility[:, [0, 2, 1]])
    assert np.isnan(crop.unique_in_crop[0]).all()
    assert not np.isnan(crop.unique_in_crop[1]).any()


@pytest.mark.parametrize(
    "turn",
    [A.Rotate((90, 90), p=1), A.Affine(rotate=180, p=1), A.Compose([A.HorizontalFlip(p=1), A.VerticalFlip(p=1)])],
)
def test_a_turn_swaps_nothing(turn: Any) -> None:
    sample = two_animals(60, 80, 5)
    crop = augment(whole(sample), compose_of(turn), SKELETON, 0)
    assert np.linalg.det(crop.crop_to_image[:, :2]) > 0
    np.testing.assert_array_equal(crop.visibility, sample.labels.visibility)
    back = apply_affine(crop.crop_to_image, crop.keypoints_in_crop)
    np.testing.assert_allclose(back, sample.labels.keypoints_in_image, atol=1e-3)


@pytest.mark.parametrize("mirror", [A.HorizontalFlip(p=1), A.VerticalFlip(p=1), A.Transpose(p=1)])
def test_two_mirrors_change_nothing(mirror: A.BasicTransform) -> None:
    crop = whole(two_animals(60, 80, 6))
    transform = compose_of(mirror)
    twice = augment(augment(crop, transform, SKELETON, 0), transform, SKELETON, 0)
    np.testing.assert_array_equal(twice.image, crop.image)
    np.testing.assert_allclose(twice.keypoints_in_crop, crop.keypoints_in_crop, atol=1e-3)
    np.testing.assert_allclose(twice.boxes_in_crop, crop.boxes_in_crop, atol=1e-3)
    np.testing.assert_allclose(twice.unique_in_crop, crop.unique_in_crop, atol=1e-3)
    np.testing.assert_array_equal(twice.visibility, crop.visibility)
    np.testing.assert_allclose(twice.crop_to_image, crop.crop_to_image, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- randomness


def test_the_same_seed_gives_the_same_crop_and_another_another() -> None:
    crop, transform = whole(two_animals(60, 80, 1)), of_option("strong")
    first, again, other = (augment(crop, transform, SKELETON, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.keypoints_in_crop, again.keypoints_in_crop)
    assert (first.image != other.image).any()


def test_steps_are_taken_independently_of_each_other() -> None:
    crop = whole(frame(np.full((20, 20, 3), 90, np.uint8), np.array([[[4, 4], [5, 5], [6, 6]]])))
    transform = compose_of(
        A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), A.ToGray(p=0), A.Affine(rotate=(0, 0), p=0.5)
    )
    taken = np.array(
        [augment(crop, transform, NO_ARENA, seed).crop_to_image[[0, 1], [0, 1]] < 0 for seed in range(400)]
    )
    counts = [(taken == pair).all(axis=1).sum() for pair in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert min(counts) > 60  # 100 of each expected


def test_without_a_seed_torch_decides() -> None:
    crop, transform = whole(two_animals(40, 40, 1)), of_option("from_above", always=True)
    images = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        images.append([augment(crop, transform, SKELETON).image for _ in range(2)])
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0][0] != images[0][1]).any()
    assert (images[0][0] != images[2][0]).any()


# ---------------------------------------------------------------------------------------------------- the user's own


@pytest.mark.parametrize(
    "transform",
    [
        A.Compose([A.HorizontalFlip()]),
        A.Compose([A.HorizontalFlip()], keypoint_params=A.KeypointParams(format="yx")),
        A.HorizontalFlip(),
    ],
)
def test_a_transform_that_moves_no_points_is_refused_in_one_line(transform: Any) -> None:
    with pytest.raises(ConfigError, match=r'keypoint_params=KeypointParams\(format="xy"\)') as caught:
        keep_keypoints(transform)
    assert "\n" not in str(caught.value)


def test_the_users_transform_is_not_changed() -> None:
    theirs = A.Compose([A.Resize(30, 30, p=0.5), A.OneOf([A.Resize(9, 9), A.NoOp()])], keypoint_params=XY)
    before = repr(theirs.to_dict()), theirs.transforms[0].py_random.getstate()
    augment(whole(two_animals(20, 20, 0)), keep_keypoints(theirs), SKELETON, 0)
    assert (repr(theirs.to_dict()), theirs.transforms[0].py_random.getstate()) == before
    assert theirs.processors["keypoints"].params.remove_invisible


def test_other_targets_of_the_users_transform_are_dropped() -> None:
    theirs = A.Compose(
        [A.HorizontalFlip(p=1)],
        keypoint_params=A.KeypointParams(format="xy", label_fields=["names"]),
        bbox_params=A.BboxParams(format="pascal_voc", label_fields=["kinds"]),
        strict=True,
    )
    sample = two_animals(20, 20, 0)
    assert_goes_back(augment(whole(sample), keep_keypoints(theirs), SKELETON, 0), sample)


def test_probabilities_of_resizing_steps_are_kept() -> None:
    transform = compose_of(A.OneOf([A.Resize(30, 30, p=0.2), A.Resize(40, 40, p=0.6)], p=0.5))
    crop = whole(two_animals(20, 20, 0))
    heights = [augment(crop, transform, SKELETON, seed).image.shape[0] for seed in range(400)]
    assert abs(heights.count(20) / 400 - 0.5) < 0.1
    assert abs(heights.count(40) / 400 - 0.375) < 0.1


def test_transforms_travel_to_other_processes() -> None:
    steps = [A.Resize(30, 50), A.ElasticTransform(p=1), A.RandomResizedCrop((20, 20))]
    transform, crop = compose_of(*steps), whole(two_animals(60, 40, 2))
    traveled = pickle.loads(pickle.dumps(transform))
    here, there = (augment(crop, made, SKELETON, 3) for made in (transform, traveled))
    np.testing.assert_array_equal(here.image, there.image)
    np.testing.assert_array_equal(here.keypoints_in_crop, there.keypoints_in_crop)


def test_read_only_image_is_not_modified() -> None:
    sample = two_animals(30, 30, 0)
    before = sample.image.copy()
    sample.image.flags.writeable = False
    for seed in range(5):
        augment(whole(sample), of_option("strong", always=True), SKELETON, seed)
    np.testing.assert_array_equal(sample.image, before)


def test_frames_without_animals_are_augmented_too() -> None:
    empty = frame(np.zeros((20, 30, 3), np.uint8), np.zeros((0, 3, 2)))
    for option in OPTIONS:
        crop = augment(whole(empty), of_option(option, always=True), NO_ARENA, 0)
        assert crop.keypoints_in_crop.shape == (0, 3, 2)
        assert crop.boxes_in_crop.shape == (0, 4)
