"""Drawing a keypoint and reading it back, at any stride and at any place of the image."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dlcpose.codecs.affine import cells_from_pixels, pixels_from_cells
from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.offsets import draw_offsets
from dlcpose.codecs.peaks import find_global_peaks, refine_peaks, values_at

HEIGHT, WIDTH = 96, 160
PLACES = st.lists(
    st.tuples(st.floats(-0.5, WIDTH - 0.5, width=32), st.floats(-0.5, HEIGHT - 0.5, width=32)), min_size=1, max_size=6
)


@settings(max_examples=60, deadline=None)
@given(PLACES, st.sampled_from([1, 2, 4, 8, 16]), st.floats(1.0, 3.0))
def test_decoding_a_drawn_heatmap_gives_the_point_back(
    places: list[tuple[float, float]], stride: int, sigma: float
) -> None:
    points = torch.tensor(places)[None, None]  # (1, 1, K, 2) pixels
    maps = draw_gaussians(cells_from_pixels(points, stride), sigma, (HEIGHT // stride, WIDTH // stride))
    cells, scores = find_global_peaks(maps)
    found = pixels_from_cells(refine_peaks(maps, cells[:, :, None])[:, :, 0], stride)
    assert (found - points[:, 0]).abs().max() < 0.1
    assert scores.max() <= 1


@settings(max_examples=30, deadline=None)
@given(PLACES, st.sampled_from([4, 8, 16]))
def test_offsets_lead_from_the_peak_to_the_point(places: list[tuple[float, float]], stride: int) -> None:
    points_in_map = cells_from_pixels(torch.tensor(places)[None, None], stride)
    size = (HEIGHT // stride, WIDTH // stride)
    cells, _ = find_global_peaks(draw_gaussians(points_in_map, 2.0, size))
    found = cells + values_at(draw_offsets(points_in_map, 3.0, size), cells[:, :, None])[:, :, 0]
    assert (found - points_in_map[:, 0]).abs().max() < 1e-4


def test_missing_points_and_images_without_animals_draw_nothing() -> None:
    points = torch.tensor([[[[5.0, 5.0], [torch.nan, torch.nan]]]])
    maps = draw_gaussians(points, 2.0, (16, 16))
    assert maps[0, 0].max() > 0.99
    assert maps[0, 1].abs().max() == 0
    assert draw_gaussians(points[:, :0], 2.0, (16, 16)).abs().max() == 0
    assert draw_offsets(points, 3.0, (16, 16))[0, 1].isnan().all()


def test_a_drawn_map_is_a_gaussian_as_scipy_draws_it() -> None:
    lit = np.zeros((41, 41))
    lit[20, 20] = 1
    blurred = ndimage.gaussian_filter(lit, 2.0, truncate=8)
    drawn = draw_gaussians(torch.tensor([[[[20.0, 20.0]]]]), 2.0, (41, 41))[0, 0].numpy()
    np.testing.assert_allclose(drawn, blurred / blurred.max(), atol=1e-4)


def test_the_nearest_animal_counts() -> None:
    together = draw_gaussians(torch.tensor([[[[5.0, 5.0]], [[11.0, 5.0]]]]), 2.0, (16, 16))
    alone = [draw_gaussians(torch.tensor([[[[x, 5.0]]]]), 2.0, (16, 16)) for x in (5.0, 11.0)]
    torch.testing.assert_close(together, torch.maximum(*alone))
    displacements = draw_offsets(torch.tensor([[[[5.0, 5.0]], [[8.0, 5.0]]]]), 3.0, (16, 16))[0, 0]
    assert displacements[:, 5, 6].tolist() == [-1, 0]
    assert displacements[:, 5, 7].tolist() == [1, 0]


def test_flat_and_empty_maps_are_read_without_nan() -> None:
    maps = torch.zeros(1, 3, 8, 8)
    maps[0, 1] = 0.5
    cells, _ = find_global_peaks(maps)
    assert refine_peaks(maps, cells[:, :, None]).isfinite().all()
