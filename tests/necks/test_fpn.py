"""The feature pyramid: which levels are smoothed, and that checkpoints from before there was a choice are read."""

import pytest
import torch
from torch import nn

from dlcpose.necks.fpn import FeaturePyramid

CHANNELS, STRIDES = (8, 16, 24, 32), (4, 8, 16, 32)


def convolutions(neck: nn.Module) -> int:
    return sum(isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) for module in neck.modules())


@pytest.mark.parametrize(("level", "deeper"), [(0, 3), (1, 2), (-1, 0)])
def test_every_level_deeper_than_the_output_is_smoothed(level: int, deeper: int) -> None:
    assert convolutions(FeaturePyramid(CHANNELS, STRIDES, level=level, smooth_levels=True)) == deeper + 1
    assert convolutions(FeaturePyramid(CHANNELS, STRIDES, level=level)) == 1


def test_without_it_the_weights_are_those_of_older_checkpoints() -> None:
    names = {name.split(".")[0] for name in FeaturePyramid(CHANNELS, STRIDES).state_dict()}
    assert names == {"laterals", "smooth"}


def test_a_deeper_level_is_smoothed_before_it_is_added() -> None:
    torch.manual_seed(0)
    neck = FeaturePyramid(CHANNELS[:2], STRIDES[:2], channels=4, smooth_levels=True).eval()
    features = [
        torch.randn(1, count, 64 // stride, 64 // stride) for count, stride in zip(CHANNELS, STRIDES, strict=False)
    ]
    (smooth,) = neck.smooth_deeper
    deeper = nn.functional.interpolate(smooth(neck.laterals[1](features[1])), scale_factor=2, mode="bilinear")
    torch.testing.assert_close(neck(features[:2]), neck.smooth(neck.laterals[0](features[0]) + deeper))
