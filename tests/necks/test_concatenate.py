"""Concatenation at a level: places are kept, and there are no weights."""

import torch
from torch.nn import functional

from dlcpose.necks.concatenate import Concatenate


def test_maps_are_concatenated_at_the_finest_size() -> None:
    neck = Concatenate((2, 3, 4), (4, 8, 16))
    levels = [torch.randn(2, count, 24 // 2**index, 32 // 2**index) for index, count in enumerate((2, 3, 4))]
    joined = neck(levels)
    assert joined.shape == (2, neck.out_channels, 24, 32)
    assert (neck.out_channels, neck.stride) == (9, 4)
    torch.testing.assert_close(joined[:, :2], levels[0])
    torch.testing.assert_close(
        joined[:, 2:5], functional.interpolate(levels[1], scale_factor=2, mode="bilinear", align_corners=False)
    )


def test_a_ramp_stays_the_same_ramp_in_the_inputs_pixels() -> None:
    neck = Concatenate((1, 1), (4, 16))
    ramps = [(stride * torch.arange(64.0 // stride) + (stride - 1) / 2).expand(1, 1, 4, -1) for stride in (4, 16)]
    fine, coarse = neck(ramps)[0, :, 0]
    torch.testing.assert_close(coarse[2:-2], fine[2:-2])  # but for the border, where there is nothing beyond


def test_it_has_no_weights_and_takes_any_level() -> None:
    neck = Concatenate((5, 2), (4, 16), level=-1)
    assert not list(neck.parameters())
    assert neck.stride == 16
    assert neck([torch.randn(1, 5, 12, 12), torch.randn(1, 2, 3, 3)]).shape == (1, 7, 3, 3)
