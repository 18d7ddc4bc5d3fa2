"""The laws that all necks obey, run on each option of conf/neck."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dlcpose.config.compose import compose
from dlcpose.instantiate import Instantiator
from dlcpose.necks.base import Neck
from dlcpose.structures.errors import ConfigError

OPTIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "neck").glob("*.yaml"))
CHANNELS, STRIDES = (8, 16, 24, 32), (4, 8, 16, 32)
SIZE = (64, 96)


@functools.cache
def config_of(option: str) -> dict[str, Any]:
    return compose(["~model", "name=laws", f"neck={option}"])


def neck_of(option: str, **changes: Any) -> Neck:
    torch.manual_seed(0)
    late = Instantiator()({**config_of(option)["neck"], **changes}, "neck")
    return late(in_channels=CHANNELS, strides=STRIDES).eval()


@pytest.fixture(params=OPTIONS)
def neck(request: pytest.FixtureRequest) -> Neck:
    return neck_of(request.param)


def features_of(count: int) -> list[Tensor]:
    torch.manual_seed(1)
    sizes = [(SIZE[0] // stride, SIZE[1] // stride) for stride in STRIDES]
    return [torch.randn(count, channels, *size) for channels, size in zip(CHANNELS, sizes, strict=True)]


def test_there_are_options() -> None:
    assert "identity" in OPTIONS


def test_channels_and_stride_are_as_stated(neck: Neck) -> None:
    merged = neck(features_of(2))
    assert merged.shape == (2, neck.out_channels, SIZE[0] // neck.stride, SIZE[1] // neck.stride)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_neck_takes_a_level_whose_stride_its_output_has(option: str) -> None:
    for level, stride in ((0, 4), (1, 8), (-1, 32)):
        neck = neck_of(option, level=level)
        assert neck.stride == stride
        assert neck(features_of(1)).shape == (1, neck.out_channels, SIZE[0] // stride, SIZE[1] // stride)
    with pytest.raises(ConfigError, match=r"neck\.level=7"):
        neck_of(option, level=7)


def test_a_batch_gives_what_its_images_give_alone(neck: Neck) -> None:
    features = features_of(3)
    together = neck(features)
    for index in range(3):
        alone = neck([level[index : index + 1] for level in features])
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=1e-4)


def test_the_input_is_not_changed(neck: Neck) -> None:
    features = features_of(1)
    neck(features)
    assert all(torch.equal(level, again) for level, again in zip(features, features_of(1), strict=True))


def test_gradients_reach_every_weight(neck: Neck) -> None:
    neck.train()
    features = [level.requires_grad_() for level in features_of(2)]
    neck(features).square().sum().backward()
    assert any(level.grad is not None and level.grad.abs().max() > 0 for level in features)
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in neck.parameters())
