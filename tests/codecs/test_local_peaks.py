"""Peaks of heatmaps against torch's pooling, close keypoints, and the traps: plateaus, borders, untrained offsets."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import max_pool2d

from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.local_peaks import duplicate_candidates, find_local_peaks
from dlcpose.codecs.offsets import draw_offsets

SIZE = (14, 19)
SURE = math.exp(-0.25) - 1e-3


def cells_of(cells: torch.Tensor, scores: torch.Tensor) -> set[tuple[int, ...]]:
    """Image, keypoint, x and y of each peak."""
    image, keypoint, place = (scores > 0).nonzero(as_tuple=True)
    return {(int(b), int(k), *cells[b, k, p].tolist()) for b, k, p in zip(image, keypoint, place, strict=True)}


@given(seed=st.integers(0, 10**6), height=st.integers(1, 9), width=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_peaks_are_those_of_pooling(seed: int, height: int, width: int) -> None:
    maps = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    cells, scores = find_local_peaks(maps, 0.3, 1000)
    is_peak = (maps == max_pool2d(maps, 3, stride=1, padding=1)) & (maps >= 0.3)
    expected = {(int(b), int(k), int(x), int(y)) for b, k, y, x in is_peak.nonzero()}
    assert cells_of(cells, scores) == expected
    for b, k, x, y in expected:
        assert (scores[b, k] == maps[b, k, y, x]).any()
    assert scores.shape[-1] == max((is_peak.sum(dim=(2, 3)).max().item()), 0)


def test_the_surest_are_kept_and_come_first() -> None:
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
@settings(max_examples=40, deadline=None)
def test_keypoints_in_neighbouring_cells_are_told_apart_by_their_offsets(
    x: float, y: float, side: tuple[float, float]
) -> None:
    points = torch.tensor([[[[x, y]], [[x + side[0], y + side[1]]]]])
    apart_from_edge = ((points - points.round()).abs() < 0.49).all()
    if not apart_from_edge:
        return
    maps, offsets = draw_gaussians(points, 1.0, SIZE), draw_offsets(points, 3.0, SIZE)
    cells, scores = find_local_peaks(maps, 0.1, 9, offsets=offsets, sure=SURE)
    expected = {(0, 0, *cell) for cell in points.round().long().view(-1, 2).tolist()}
    assert cells_of(cells, scores) == expected


def test_offsets_that_say_nothing_yet_make_no_keypoints() -> None:
    maps = draw_gaussians(torch.tensor([[[[6.45, 7.4]]]]), 1.0, SIZE)
    for offsets in (torch.zeros(1, 1, 2, *SIZE), 0.01 * torch.randn(1, 1, 2, *SIZE)):
        assert find_local_peaks(maps, 0.1, 9, offsets=offsets, sure=SURE)[1].shape[-1] == 1


def test_of_candidates_on_one_another_the_surest_is_left() -> None:
    points = np.array([[[[1.0, 1.0], [1.2, 1.0], [5.0, 5.0], [math.nan] * 2]]])
    assert duplicate_candidates(points, np.array([[[0.5, 0.9, 0.4, 0.0]]]), 0.5).tolist() == [
        [[True, False, False, False]]
    ]
    assert duplicate_candidates(points, np.array([[[0.5, 0.5, 0.4, 0.0]]]), 0.5).tolist() == [
        [[False, True, False, False]]
    ]
    assert not duplicate_candidates(points, np.array([[[0.5, 0.9, 0.4, 0.0]]]), 0.1).any()
