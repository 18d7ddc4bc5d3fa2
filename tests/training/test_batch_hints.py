"""Batches that are too small for what a network does with them."""

import pytest
import torch
from torch import nn

from dlcpose.structures.errors import ConfigError
from dlcpose.training.batch_hints import explaining_batches


def config_of(batch_size: int) -> dict[str, dict[str, int]]:
    return {"datamodule": {"batch_size": batch_size}}


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (1, r"datamodule\.batch_size=1: .*Take datamodule\.batch_size=2 or more"),
        (8, "a batch of one frame: .*Take more frames to train on"),
    ],
)
def test_a_single_value_cannot_be_normalised(size: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said), explaining_batches(config_of(size)):
        nn.BatchNorm2d(4)(torch.zeros(1, 4, 1, 1))


def test_what_works_and_other_errors_pass() -> None:
    with explaining_batches(config_of(2)):
        nn.BatchNorm2d(4)(torch.zeros(2, 4, 1, 1))
    with pytest.raises(ValueError, match="other"), explaining_batches(config_of(1)):
        raise ValueError("other")
