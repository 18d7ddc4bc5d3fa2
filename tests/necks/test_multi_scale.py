"""DLCRNet's neck: banks of finer maps beside the deepest."""

import pytest
import torch

from dlcpose.necks.multi_scale import MultiScale
from dlcpose.structures.errors import ConfigError


@pytest.mark.parametrize(
    ("channels", "strides"), [((6, 8, 20), (4, 8, 16)), ((6, 8, 12, 20), (4, 8, 16, 32)), ((6, 8, 20), (4, 8, 8))]
)
def test_banks_come_to_the_deepest_map(channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    neck = MultiScale(channels, strides, channels=5).eval()
    features = [
        torch.randn(1, count, 96 // stride, 64 // stride) for count, stride in zip(channels, strides, strict=True)
    ]
    found = neck(features)
    assert found.shape == (1, 2 * 5 + 20, 96 // strides[-1], 64 // strides[-1])
    for bank, level in zip(neck.banks, features, strict=False):  # exact before they are resized: nothing is stretched
        assert bank(level).shape == (1, 5, 96 // 16, 64 // 16)
    assert torch.equal(found[:, 10:], features[-1])
    assert neck.out_channels == 30


def test_places_are_kept() -> None:
    """A lit cell of a fine map lights the bank at the same place of the image: nothing is shifted by the strides."""
    torch.manual_seed(0)
    neck = MultiScale((3, 3, 3), (4, 8, 16), channels=4).eval()
    empty = [torch.zeros(1, 3, 128 // stride, 128 // stride) for stride in (4, 8, 16)]
    for level, stride in enumerate((4, 8)):
        lit = [feature.clone() for feature in empty]
        lit[level][:, :, 80 // stride, 48 // stride] = 50
        changed = (neck(lit) - neck(empty)).abs().sum(dim=1)[0, :, :]
        y, x = changed.nonzero().float().mean(dim=0).tolist()
        assert abs(16 * y + 7.5 - 80) <= 16
        assert abs(16 * x + 7.5 - 48) <= 16


def test_a_missing_stride_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"none of \[4\]"):
        MultiScale((8, 16), (8, 16))
