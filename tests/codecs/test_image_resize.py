"""Resizing on the device gives what OpenCV gives on the CPU."""

import numpy as np
import pytest
import torch

from dlcpose.codecs.image_resize import resize_images, resize_weights
from dlcpose.datasets.crops import resize_onto


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (31, 47), (17, 64), (96, 128), (60, 50), (5, 90), (1, 1)])
def test_images_come_out_as_opencv_resizes_them(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    ours = resize_images(torch.from_numpy(images).permute(0, 3, 1, 2), size)
    theirs = np.stack([resize_onto(image, size, size) for image in images])
    difference = np.abs(ours.permute(0, 2, 3, 1).numpy().astype(int) - theirs.astype(int))
    assert ours.dtype == torch.uint8
    assert difference.max() <= 1
    assert difference.mean() < 0.2


@pytest.mark.parametrize(("length", "target"), [(10, 10), (10, 3), (7, 20), (640, 320), (1, 5)])
def test_every_pixel_is_a_mean(length: int, target: int) -> None:
    weights = resize_weights(length, target)
    assert weights.shape == (target, length)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(target))
    if target <= length:  # by area: no pixel counts more than another
        torch.testing.assert_close(weights.sum(dim=0), torch.full((length,), target / length), atol=1e-5, rtol=0)
