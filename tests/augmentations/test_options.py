"""Every option of conf/augmentation. That points follow the image is shown in tests/datasets/test_crops.py."""

from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import yaml

from dlcpose.datasets.crops import augment, keep_keypoints, whole
from dlcpose.instantiate import Instantiator
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from tests.datasets.lit_frames import frame

FOLDER = Path(__file__).parents[2] / "conf" / "augmentation"
OPTIONS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SKELETON = Skeleton(("a", "b"), pairs=((0, 1),))


POSES = np.array([[[20.0, 20.0], [30.0, 28.0]]])


def built(option: str) -> A.Compose:
    augmentation = Instantiator()(yaml.safe_load((FOLDER / f"{option}.yaml").read_text()), "augmentation")
    frames = [frame(np.zeros((48, 48, 3), np.uint8), POSES).labels]
    schedule = augmentation.schedule(frames, SKELETON, Input(48, 48), may_crop=True)
    return keep_keypoints(schedule.strongest.transform)


@pytest.mark.parametrize("option", OPTIONS)
def test_options_build_and_are_described(option: str) -> None:
    assert isinstance(built(option), A.Compose)
    assert (FOLDER / f"{option}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option != "none"])
def test_an_option_changes_most_frames_and_no_two_alike(option: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    crop, transform = whole(frame(picture, POSES)), built(option)
    images = [augment(crop, transform, SKELETON, seed).image for seed in range(20)]
    assert sum(image.shape != picture.shape or bool((image != picture).any()) for image in images) >= 15
    assert len({image.tobytes() for image in images}) >= 15
    assert all(image.dtype == np.uint8 and image.ndim == 3 for image in images)


def test_none_changes_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    crop = whole(frame(picture, np.array([[[20.0, 20.0], [99.0, -3.0]]])))
    same = augment(crop, built("none"), SKELETON, 0)
    np.testing.assert_array_equal(same.image, picture)
    np.testing.assert_allclose(same.keypoints_in_crop, crop.keypoints_in_crop, atol=1e-4)
    np.testing.assert_allclose(same.crop_to_image, crop.crop_to_image, atol=1e-6)
