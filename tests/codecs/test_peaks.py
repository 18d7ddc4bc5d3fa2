"""Peaks of drawn heatmaps are decoded where they were drawn; checked against torch's pooling and scipy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn.functional import max_pool2d

from dlcpose.codecs.affine import cells_from_pixels, pixels_from_cells
from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.offsets import draw_offsets
from dlcpose.codecs.peaks import (
    find_duplicates,
    find_global_peaks,
    find_local_peaks,
    refine_by_quarter,
    refine_dark,
    refine_peaks,
    refine_to_peak,
    sample_bilinear,
    values_at,
)

NAN = float("nan")
HEIGHT, WIDTH = 96, 160
PLACES = st.lists(
    st.tuples(st.floats(-0.5, WIDTH - 0.5, width=32), st.floats(-0.5, HEIGHT - 0.5, width=32)), min_size=1, max_size=6
)
SIZE = (14, 19)
MIN_OFFSET_SCORE = math.exp(-0.25) - 1e-3


@given(PLACES, st.sampled_from([1, 2, 4, 8, 16]), st.floats(1.0, 3.0))
def test_decoding_returns_the_drawn_point(places: list[tuple[float, float]], stride: int, sigma: float) -> None:
    points = torch.tensor(places)[None, None]  # (1, 1, K, 2) pixels
    maps = draw_gaussians(cells_from_pixels(points, stride), sigma, (HEIGHT // stride, WIDTH // stride))
    cells, scores = find_global_peaks(maps)
    decoded = pixels_from_cells(refine_peaks(maps, cells[:, :, None])[:, :, 0], stride)
    assert (decoded - points[:, 0]).abs().max() < 0.1
    assert scores.max() <= 1


@given(PLACES, st.sampled_from([4, 8, 16]))
def test_offsets_lead_from_the_peak_to_the_point(places: list[tuple[float, float]], stride: int) -> None:
    points_in_map = cells_from_pixels(torch.tensor(places)[None, None], stride)
    size = (HEIGHT // stride, WIDTH // stride)
    cells, _ = find_global_peaks(draw_gaussians(points_in_map, 2.0, size))
    decoded = cells + values_at(draw_offsets(points_in_map, 3.0, size), cells[:, :, None])[:, :, 0]
    assert (decoded - points_in_map[:, 0]).abs().max() < 1e-4


def test_flat_and_empty_maps_are_refined_without_nan() -> None:
    maps = torch.zeros(1, 3, 8, 8)
    maps[0, 1] = 0.5
    cells, _ = find_global_peaks(maps)
    assert refine_peaks(maps, cells[:, :, None]).isfinite().all()


def cells_of(cells: torch.Tensor, scores: torch.Tensor) -> set[tuple[int, ...]]:
    """Image, keypoint, x and y of each peak."""
    image, keypoint, place = (scores > 0).nonzero(as_tuple=True)
    return {(int(b), int(k), *cells[b, k, p].tolist()) for b, k, p in zip(image, keypoint, place, strict=True)}


@given(seed=st.integers(0, 10**6), height=st.integers(1, 9), width=st.integers(1, 12))
def test_peaks_are_those_of_pooling(seed: int, height: int, width: int) -> None:
    maps = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    cells, scores = find_local_peaks(maps, 0.3, 1000)
    is_peak = (maps == max_pool2d(maps, 3, stride=1, padding=1)) & (maps >= 0.3)
    expected = {(int(b), int(k), int(x), int(y)) for b, k, y, x in is_peak.nonzero()}
    assert cells_of(cells, scores) == expected
    for b, k, x, y in expected:
        assert (scores[b, k] == maps[b, k, y, x]).any()
    assert scores.shape[-1] == max((is_peak.sum(dim=(2, 3)).max().item()), 0)


def test_the_highest_are_kept_and_come_first() -> None:
    maps = torch.zeros(1, 2, *SIZE)
    maps[0, 0, 2, 3], maps[0, 0, 2, 9], maps[0, 0, 9, 9], maps[0, 1, 5, 5] = 0.5, 0.9, 0.7, 0.4
    cells, scores = find_local_peaks(maps, 0.1, 2)
    torch.testing.assert_close(scores, torch.tensor([[[0.9, 0.7], [0.4, 0.0]]]))
    assert cells[0, 0].tolist() == [[9, 2], [9, 9]]
    assert cells[0, 1, 0].tolist() == [5, 5]


@pytest.mark.parametrize("point", [(4.5, 6.0), (4.0, 6.5), (4.5, 6.5), (0.0, 0.0), (18.0, 13.0), (17.5, 12.5)])
def test_a_keypoint_between_cells_and_in_a_corner_is_found_once(point: tuple[float, float]) -> None:
    maps = draw_gaussians(torch.tensor([[[point]]]), 1.0, SIZE)
    cells, scores = find_local_peaks(maps, 0.1, 9)
    assert scores.shape == (1, 1, 1)
    assert (cells[0, 0, 0] - torch.tensor(point)).abs().max() <= 0.5


def test_a_flat_map_has_one_peak_and_an_empty_one_none() -> None:
    cells, scores = find_local_peaks(torch.ones(1, 1, *SIZE), 0.1, 9)
    assert cells.tolist() == [[[[0, 0]]]]
    cells, scores = find_local_peaks(torch.zeros(2, 3, *SIZE), 0.0, 9)
    assert cells.shape == (2, 3, 0, 2)
    assert scores.shape == (2, 3, 0)


@given(x=st.floats(3, 14), y=st.floats(3, 10), side=st.sampled_from([(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, -1.0)]))
def test_keypoints_in_neighboring_cells_are_separated_by_their_offsets(
    x: float, y: float, side: tuple[float, float]
) -> None:
    points = torch.tensor([[[[x, y]], [[x + side[0], y + side[1]]]]])
    apart_from_edge = ((points - points.round()).abs() < 0.49).all()
    if not apart_from_edge:
        return
    maps, offsets = draw_gaussians(points, 1.0, SIZE), draw_offsets(points, 3.0, SIZE)
    cells, scores = find_local_peaks(maps, 0.1, 9, offsets=offsets, min_offset_score=MIN_OFFSET_SCORE)
    expected = {(0, 0, *cell) for cell in points.round().long().view(-1, 2).tolist()}
    assert cells_of(cells, scores) == expected


def test_untrained_offsets_make_no_peaks() -> None:
    maps = draw_gaussians(torch.tensor([[[[6.45, 7.4]]]]), 1.0, SIZE)
    for offsets in (torch.zeros(1, 1, 2, *SIZE), 0.01 * torch.randn(1, 1, 2, *SIZE)):
        assert find_local_peaks(maps, 0.1, 9, offsets=offsets, min_offset_score=MIN_OFFSET_SCORE)[1].shape[-1] == 1


def test_of_duplicates_the_highest_scoring_stays() -> None:
    points = np.array([[[[1.0, 1.0], [1.2, 1.0], [5.0, 5.0], [math.nan] * 2]]])
    assert find_duplicates(points, np.array([[[0.5, 0.9, 0.4, 0.0]]]), 0.5).tolist() == [[[True, False, False, False]]]
    assert find_duplicates(points, np.array([[[0.5, 0.5, 0.4, 0.0]]]), 0.5).tolist() == [[[False, True, False, False]]]
    assert not find_duplicates(points, np.array([[[0.5, 0.9, 0.4, 0.0]]]), 0.1).any()


@given(st.integers(0, 10_000))
def test_bilinear_sampling_agrees_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.random((2, 3, 9, 12)).astype(np.float32)
    points = rng.uniform(-2, 13, (2, 3, 5, 2)).astype(np.float32)
    got = sample_bilinear(torch.from_numpy(maps), torch.from_numpy(points)).numpy()
    for place in np.ndindex(2, 3):
        x, y = points[place].T
        expected = ndimage.map_coordinates(maps[place], [y, x], order=1, mode="nearest")
        np.testing.assert_allclose(got[place], expected, atol=1e-5)


@given(st.floats(2, 29), st.floats(2, 20), st.floats(-1.4, 1.4), st.floats(-1.4, 1.4))
def test_a_point_is_refined_to_the_peak_beside_it(x: float, y: float, dx: float, dy: float) -> None:
    peak = torch.tensor([x, y])
    maps = draw_gaussians(peak[None, None, None], 2.0, (24, 32))
    start = (peak + torch.tensor([dx, dy])).clamp(min=0)[None, None, None]
    torch.testing.assert_close(refine_to_peak(maps, start, 2.0)[0, 0, 0], peak, atol=1e-2, rtol=0)


def test_points_too_far_from_a_peak_or_missing_or_outside_stay() -> None:
    maps = draw_gaussians(torch.tensor([[[[10.0, 10.0]]]]), 2.0, (24, 32))
    points = torch.tensor([[[[15.0, 10.0], [NAN, NAN], [-7.0, 10.0], [11.0, 10.0]]]])
    moved = refine_to_peak(maps, points, 2.0)
    torch.testing.assert_close(moved[0, 0, :3], points[0, 0, :3], equal_nan=True)
    torch.testing.assert_close(moved[0, 0, 3], torch.tensor([10.0, 10.0]), atol=1e-2, rtol=0)


def test_a_newton_step_on_the_blurred_map_returns_the_drawn_point() -> None:
    """Blurred, a Gaussian stays one, whose logarithm the step is exact for."""
    points = torch.tensor([[[[9.3, 20.8], [30.0, 11.45]]]])  # (B, N, K, 2) cells
    maps = draw_gaussians(points, 2.0, (40, 48))
    cells, _ = find_global_peaks(maps)
    refined = refine_dark(maps, cells[:, :, None])[:, :, 0]
    assert (refined - points[:, 0]).abs().max() < 0.01


@pytest.mark.parametrize("point", [(9.3, 20.8), (0.2, 20.8), (1.3, 2.4), (47.0, 38.1), (46.3, 0.8)])
def test_a_newton_step_is_mmposes_also_at_the_border(point: tuple[float, float]) -> None:
    """`refine_keypoints_dark_udp`: the blur sees zeros beyond the border, the logarithm goes on there."""
    maps = draw_gaussians(torch.tensor([[[point]]]), 2.0, (40, 48))
    cells, _ = find_global_peaks(maps)
    refined = refine_dark(maps, cells[:, :, None])[0, 0, 0]
    blurred = ndimage.gaussian_filter(maps[0, 0].double().numpy(), 2.0, radius=5, mode="constant")
    logarithms = np.pad(np.log(blurred.clip(1e-3)), 1, mode="edge")
    x, y = cells[0, 0].tolist()
    around = logarithms[y : y + 3, x : x + 3]
    slope = np.array([around[1, 2] - around[1, 0], around[2, 1] - around[0, 1]]) / 2
    mixed = around[2, 2] - around[1, 2] - around[2, 1] + 2 * around[1, 1] - around[1, 0] - around[0, 1] + around[0, 0]
    curves = around[1, 2] - 2 * around[1, 1] + around[1, 0], around[2, 1] - 2 * around[1, 1] + around[0, 1]
    hessian = np.array([[curves[0], mixed / 2], [mixed / 2, curves[1]]])
    np.testing.assert_allclose(refined, np.array([x, y]) - np.linalg.solve(hessian, slope), atol=1e-3)
    assert np.linalg.norm(refined.numpy() - point) < 1.2  # cells: a cut Gaussian has no exact place


def test_a_flat_map_has_no_step() -> None:
    maps, cells = torch.zeros(1, 1, 8, 8), torch.tensor([[[[3, 4]]]])
    for refined in (refine_dark(maps, cells), refine_by_quarter(maps, cells)):
        assert refined[0, 0, 0].tolist() == [3, 4]


def test_a_quarter_of_a_cell_towards_the_higher_neighbor_but_not_at_the_border() -> None:
    maps = torch.arange(64.0).view(1, 1, 8, 8)  # rises to the right and downward
    cells = torch.tensor([[[[3, 4], [7, 4], [0, 0], [1, 3]]]])
    expected = [[3.25, 4.25], [7, 4.25], [0, 0], [1, 3.25]]
    assert refine_by_quarter(maps, cells)[0, 0].tolist() == expected
