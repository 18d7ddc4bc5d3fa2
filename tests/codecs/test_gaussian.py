"""Gaussians on heatmaps, against scipy; that peaks lead back to the keypoints is shown in test_peaks.py."""

import numpy as np
import torch
from scipy import ndimage

from dlcpose.codecs.gaussian import draw_gaussians


def test_missing_points_and_images_without_animals_draw_nothing() -> None:
    points = torch.tensor([[[[5.0, 5.0], [torch.nan, torch.nan]]]])
    maps = draw_gaussians(points, 2.0, (16, 16))
    assert maps[0, 0].max() > 0.99
    assert maps[0, 1].abs().max() == 0
    assert draw_gaussians(points[:, :0], 2.0, (16, 16)).abs().max() == 0


def test_a_drawn_map_is_the_gaussian_of_scipy() -> None:
    lit = np.zeros((41, 41))
    lit[20, 20] = 1
    blurred = ndimage.gaussian_filter(lit, 2.0, truncate=8)
    drawn = draw_gaussians(torch.tensor([[[[20.0, 20.0]]]]), 2.0, (41, 41))[0, 0].numpy()
    np.testing.assert_allclose(drawn, blurred / blurred.max(), atol=1e-4)


def test_what_is_drawn_is_0_or_a_normal_number() -> None:
    drawn = draw_gaussians(torch.tensor([[[[3.3, 40.2], [60.0, 1.0]]]]), 2.0, (64, 64))
    assert drawn[drawn > 0].min() >= torch.finfo(torch.float32).tiny  # a CPU takes many times as long for smaller ones


def test_the_nearest_animal_counts() -> None:
    together = draw_gaussians(torch.tensor([[[[5.0, 5.0]], [[11.0, 5.0]]]]), 2.0, (16, 16))
    alone = [draw_gaussians(torch.tensor([[[[x, 5.0]]]]), 2.0, (16, 16)) for x in (5.0, 11.0)]
    torch.testing.assert_close(together, torch.maximum(*alone))
