"""Drawing a coordinate on bins and reading it back, at any place of any canvas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlcpose.codecs.simcc import bins_from_pixels, decode_bins, default_sigma, draw_bins, pixels_from_bins

SIDES = st.sampled_from([32, 64, 96, 256, 384])
FINE = st.integers(1, 3)
SHIFTS = st.sampled_from([0.0, -0.5])


@given(SIDES, FINE, SHIFTS, st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5), st.floats(-3, 3, width=32))
def test_decoding_returns_the_drawn_coordinate(
    side: int, fine: int, shift: float, shares: list[float], constant: float
) -> None:
    """To a hundredth of a pixel, also at the very edges, and whatever is added to all bins."""
    pixels = torch.tensor([-0.5, side - 0.5, *(share * side - 0.5 for share in shares)])[None, None]  # (1, 1, K)
    sigma = default_sigma(side * fine)
    values = draw_bins(bins_from_pixels(pixels, fine, shift), sigma, side * fine)
    places, scores = decode_bins(values + constant, sigma, 10.0)
    assert (pixels_from_bins(places, fine, shift) - pixels[:, 0]).abs().max() < 0.01
    assert scores.min() > 0.95
    assert scores.max() <= 1


def test_bins_cover_the_canvas_and_pixels_lie_between_them() -> None:
    pixels = torch.arange(4.0)
    assert bins_from_pixels(pixels, 2).tolist() == [0.5, 2.5, 4.5, 6.5]
    # Eight bins for four pixels: the outer borders of the first and the last are those of the canvas.
    assert pixels_from_bins(torch.tensor([-0.5, 7.5]), 2).tolist() == [-0.5, 3.5]
    assert bins_from_pixels(pixels, 2, -0.5).tolist() == [0, 2, 4, 6]  # DeepLabCut and MMPose
    assert bins_from_pixels(pixels, 1).tolist() == pixels.tolist()


@pytest.mark.parametrize(("side", "sigma"), [(192, 4.9), (256, 5.66), (288, 6.0), (384, 6.93)])
def test_widths_are_those_of_the_published_models(side: int, sigma: float) -> None:
    assert default_sigma(2 * side) == pytest.approx(sigma, abs=0.005)


def test_a_drawn_coordinate_is_the_gaussian_of_scipy() -> None:
    drawn = draw_bins(torch.tensor([[[20.3]]]), 3.0, 48)[0, 0].numpy()
    density = stats.norm.pdf(np.arange(48), 20.3, 3.0) / stats.norm.pdf(0, 0, 3.0)
    np.testing.assert_allclose(drawn, density, atol=1e-6)


def test_a_mirrored_coordinate_gives_the_mirrored_bins() -> None:
    pixels = torch.tensor([[[3.2, 30.9]]])
    drawn = draw_bins(bins_from_pixels(pixels, 2), 2.0, 64)
    mirrored = draw_bins(bins_from_pixels(31 - pixels, 2), 2.0, 64)
    torch.testing.assert_close(mirrored, drawn.flip(-1), atol=1e-5, rtol=1e-4)


def test_missing_coordinates_are_nan_and_the_nearest_animal_counts() -> None:
    places = torch.tensor([[[5.0, math.nan, math.nan], [30.0, 8.0, math.nan]]])  # two animals, three keypoints
    drawn = draw_bins(places, 2.0, 40)[0]
    assert (drawn[0].argmax(), drawn[0][30], drawn[1].argmax()) == (5, 1, 8)
    assert drawn[2].isnan().all()
    assert draw_bins(places[:, :0], 2.0, 40).isnan().all()
    places, scores = decode_bins(drawn[None], 2.0, 10.0)
    assert places.isnan().tolist() == [[False, False, True]]
    assert scores[0, 2] == 0


@given(st.floats(0.55, 0.98), st.integers(20, 60), st.integers(110, 180))
def test_a_score_is_the_probability_that_the_keypoint_is_there(share: float, here: int, elsewhere: int) -> None:
    """The output of a calibrated network: it is here in `share` of such images, and elsewhere in the others."""
    sigma, temperature = default_sigma(200), 10.0
    each = draw_bins(torch.tensor([[[float(here), float(elsewhere)]]]), sigma, 200)[0]
    likely, other = (temperature * each).softmax(dim=-1)
    mixture = (share * likely + (1 - share) * other).log() / temperature
    places, scores = decode_bins(mixture[None, None], sigma, temperature)
    assert abs(float(places) - here) < 0.1
    assert float(scores) == pytest.approx(share, abs=0.03)


def test_a_flat_distribution_scores_next_to_nothing() -> None:
    places, scores = decode_bins(torch.zeros(1, 2, 256), 4.0, 10.0)
    assert places.isfinite().all()
    assert scores.max() <= 9 / 256 + 1e-6
