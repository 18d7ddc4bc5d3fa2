from typing import Any

import albumentations as A
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.augmentations.animal_crop import AnimalCrop, AnimalResizedCrop
from dlcpose.codecs.affine import apply_affine
from dlcpose.datasets.crops import augment, keep_keypoints, whole
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.sample import PoseCrop
from dlcpose.structures.skeleton import Skeleton
from tests.datasets.lit_frames import centroid, frame, lit

HEIGHT, WIDTH = 120, 160
SKELETON = Skeleton(("a", "b"))
XY = A.KeypointParams(format="xy")
WINDOWS = {
    "window": AnimalResizedCrop(share=(0.4, 0.8), p=1.0),
    "cut": AnimalCrop(height=60, width=70, around=1.0),
}


def through(step: A.BasicTransform, animals: np.ndarray, seed: int, image: np.ndarray | None = None) -> PoseCrop:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if image is None else image
    return augment(
        whole(frame(picture, animals)), keep_keypoints(A.Compose([step], keypoint_params=XY)), SKELETON, seed
    )


def source_corners(crop: PoseCrop) -> np.ndarray:
    """The crop's outer edges in the image's pixels: (2, 2)."""
    height, width = crop.image.shape[:2]
    return apply_affine(crop.crop_to_image, np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]))


@pytest.mark.parametrize("name", WINDOWS)
@given(st.integers(0, 2**31 - 1), st.floats(0, WIDTH - 1), st.floats(0, HEIGHT - 1))
def test_the_animal_is_in_the_window_and_the_window_in_the_image(name: str, seed: int, x: float, y: float) -> None:
    animal = np.array([[[x, y], [x, y]]])
    crop = through(WINDOWS[name], animal, seed)
    corners = source_corners(crop)
    assert (corners[0] >= -0.5 - 1e-3).all()
    assert (corners[1] <= (WIDTH - 0.5 + 1e-3, HEIGHT - 0.5 + 1e-3)).all()
    height, width = crop.image.shape[:2]
    place = crop.keypoints_in_crop[0, 0]
    assert (place >= -1).all()
    assert (place <= (width, height)).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_window_is_a_share_of_the_canvas_and_is_enlarged_to_it(seed: int) -> None:
    crop = through(WINDOWS["window"], np.array([[[80.0, 60.0], [90.0, 66.0]]]), seed)
    assert crop.image.shape == (HEIGHT, WIDTH, 3)
    sides = np.diff(source_corners(crop), axis=0)[0] / (WIDTH, HEIGHT)
    assert sides[0] == pytest.approx(sides[1], abs=1e-4)
    assert 0.4 - 1e-4 <= sides[0] <= 0.8 + 1e-4


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_keeps_the_scale_and_the_pixels(seed: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    crop = through(WINDOWS["cut"], np.array([[[80.0, 60.0], [90.0, 66.0]]]), seed, picture)
    assert crop.image.shape == (60, 70, 3)
    left, top = np.round(crop.crop_to_image[:, 2]).astype(int)
    np.testing.assert_array_equal(crop.image, picture[top : top + 60, left : left + 70])


def test_a_cut_larger_than_the_canvas_is_the_canvas() -> None:
    assert through(AnimalCrop(height=999, width=50), np.zeros((1, 2, 2)), 0).image.shape == (HEIGHT, 50, 3)


@given(st.integers(0, 2**31 - 1), st.floats(6, WIDTH - 7), st.floats(6, HEIGHT - 7))
def test_a_rotated_cut_moves_pixels_and_points_alike_and_keeps_the_animal(seed: int, x: float, y: float) -> None:
    step = AnimalCrop(height=60, width=70, around=1.0, rotation=180.0, scale=(0.8, 1.25), affine=1.0)
    crop = through(step, np.array([[[x, y], [x, y]]]), seed, lit(HEIGHT, WIDTH, x, y))
    assert crop.image.shape == (60, 70, 3)
    linear = crop.crop_to_image[:, :2]
    factor = np.sqrt(np.linalg.det(linear))
    assert 0.8 - 1e-3 <= 1 / factor <= 1.25 + 1e-3
    np.testing.assert_allclose(
        linear @ linear.T, factor**2 * np.eye(2), atol=1e-4
    )  # nothing but a rotation and a scale
    place = crop.keypoints_in_crop[0, 0]
    # The corners of the canvas may lie outside of a crop that is rotated there.
    if 20 < x < WIDTH - 20 and 20 < y < HEIGHT - 20:
        assert (place > -1).all()
        assert (place < (70, 60)).all()
    if (place > 8).all() and (place < (62, 52)).all():
        np.testing.assert_allclose(centroid(crop.image, floor=0.05), place, atol=0.25)


@pytest.mark.parametrize("name", WINDOWS)
def test_every_animal_gets_its_turn(name: str) -> None:
    animals = np.array([[[20.0, 20.0]] * 2, [[140.0, 100.0]] * 2])
    near = []
    for seed in range(60):
        corners = source_corners(through(WINDOWS[name], animals, seed))
        inside = ((animals[:, 0] >= corners[0]) & (animals[:, 0] <= corners[1])).all(axis=1)
        assert inside.any()
        near.append(inside)
    assert (np.sum(near, axis=0) > 12).all()


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("animals", [np.zeros((0, 2, 2)), np.full((2, 2, 2), np.nan), np.full((1, 2, 2), 5000.0)])
def test_images_without_animals_get_a_window_somewhere(name: str, animals: np.ndarray) -> None:
    places = {tuple(source_corners(through(WINDOWS[name], animals, seed)).round().ravel()) for seed in range(10)}
    assert len(places) > 5


@pytest.mark.parametrize("name", WINDOWS)
def test_animals_are_looked_for_where_earlier_steps_have_put_them(name: str) -> None:
    steps = A.Sequential([A.HorizontalFlip(p=1), A.Affine(translate_px={"x": -20, "y": 10}, p=1), WINDOWS[name]], p=1)
    for seed in range(8):
        crop = through(steps, np.array([[[30.0, 30.0], [30.0, 30.0]]]), seed, lit(HEIGHT, WIDTH, 30.0, 30.0))
        height, width = crop.image.shape[:2]
        place = crop.keypoints_in_crop[0, 0]
        assert (place >= 0).all()
        assert (place <= (width, height)).all()
        if (place > 12).all() and (place < (width - 12, height - 12)).all():
            np.testing.assert_allclose(centroid(crop.image, floor=0.05), place, atol=0.2)


@pytest.mark.parametrize("share", [(0.0, 0.0), (0.0, 1.0), (1.2, 1.5), (0.8, 0.4)])
def test_windows_that_do_not_lie_within_the_canvas_are_refused(share: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"^augmentation: .* share"):
        AnimalResizedCrop(share=share)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (1.5, 1.0)}, "scale"),
        ({"scale": (1.0, float("inf"))}, "scale"),
        ({"rotation": -1.0}, "rotation"),
        ({"height": 0}, "height"),
    ],
)
def test_crops_of_no_size_or_scale_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=rf"^augmentation: .* {named}"):
        AnimalCrop(**settings)
