import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.peak_refinement import refine_to_peak, sample_bilinear

NAN = float("nan")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_values_between_cells_are_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.random((2, 3, 9, 12)).astype(np.float32)
    points = rng.uniform(-2, 13, (2, 3, 5, 2)).astype(np.float32)
    got = sample_bilinear(torch.from_numpy(maps), torch.from_numpy(points)).numpy()
    for place in np.ndindex(2, 3):
        x, y = points[place].T
        expected = ndimage.map_coordinates(maps[place], [y, x], order=1, mode="nearest")
        np.testing.assert_allclose(got[place], expected, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(2, 29), st.floats(2, 20), st.floats(-1.4, 1.4), st.floats(-1.4, 1.4))
def test_a_point_finds_the_summit_beside_it(x: float, y: float, dx: float, dy: float) -> None:
    parabolic_peak = torch.tensor([x, y])
    maps = draw_gaussians(parabolic_peak[None, None, None], 2.0, (24, 32))
    start = (parabolic_peak + torch.tensor([dx, dy])).clamp(min=0)[None, None, None]
    torch.testing.assert_close(refine_to_peak(maps, start, 2.0)[0, 0, 0], parabolic_peak, atol=1e-2, rtol=0)


def test_what_is_too_far_or_missing_or_outside_stays() -> None:
    maps = draw_gaussians(torch.tensor([[[[10.0, 10.0]]]]), 2.0, (24, 32))
    points = torch.tensor([[[[15.0, 10.0], [NAN, NAN], [-7.0, 10.0], [11.0, 10.0]]]])
    moved = refine_to_peak(maps, points, 2.0)
    torch.testing.assert_close(moved[0, 0, :3], points[0, 0, :3], equal_nan=True)
    torch.testing.assert_close(moved[0, 0, 3], torch.tensor([10.0, 10.0]), atol=1e-2, rtol=0)
