"""Heatmap heads: lengths in input pixels are the same at every stride, down to a bound in cells."""

import numpy as np
import pytest
import torch

from dlcpose.codecs.offsets import MIN_RADIUS
from dlcpose.heads.heatmap import HeatmapHead
from dlcpose.losses.heatmap import mean_squared_error
from dlcpose.structures.skeleton import Skeleton
from tests.heads.made_up_batches import batch_of

SIZE = (128, 128)


def head_of(stride: int, **settings: float) -> HeatmapHead:
    return HeatmapHead(4, stride, Skeleton(("nose",)), heatmap_loss=mean_squared_error, deconvolutions=0, **settings)


def heat_at(head: HeatmapHead, distance: float) -> float:
    """The target's value at a distance from the keypoint, px, which is the center of a cell at strides 2, 4 and 8."""
    keypoint = np.array([[[64.0 + (head.stride - 1) / 2, 64.0 + (head.stride - 1) / 2]]])
    cell = int(64 / head.stride)
    return float(head.encode(batch_of([keypoint], SIZE)).heatmaps[0, 0, cell, cell + int(distance / head.stride)])


def test_sigma_and_radius_are_input_pixels_at_every_stride() -> None:
    for stride in (2, 4, 8):
        head = head_of(stride, sigma=8.0, offset_radius=24.0)
        assert heat_at(head, 8.0) == pytest.approx(np.exp(-0.5), rel=1e-5)
        offsets = head.encode(batch_of([np.array([[[64.0, 64.0]]])], SIZE)).offsets
        assert offsets is not None
        supervised = (~offsets[0, 0].isnan().any(dim=0)).sum() * stride**2  # px²
        assert float(supervised) == pytest.approx(np.pi * 24**2, rel=0.1)


def test_a_map_cannot_show_less_than_its_bounds_in_cells() -> None:
    head = head_of(16, sigma=4.0, offset_radius=1.0)
    assert heat_at(head, 16.0) == pytest.approx(np.exp(-0.5), rel=1e-5)
    assert head.offset_radius_in_map == MIN_RADIUS


@pytest.mark.parametrize("settings", [{"sigma": 0.0}, {"offset_radius": -1.0}])
def test_lengths_that_are_none_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        head_of(4, **settings)


def test_offsets_are_keypoint_minus_cell() -> None:
    offsets = head_of(4).encode(batch_of([np.array([[[21.5, 17.5]]])], SIZE)).offsets  # cell (5, 4)
    assert offsets is not None
    torch.testing.assert_close(offsets[0, 0, :, 4, 4], torch.tensor([1.0, 0.0]))
