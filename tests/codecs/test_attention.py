"""Attention weights against torch's own."""

import math

import torch
from torch import nn

from dlcpose.codecs.attention import attention_weights, rows_at


def test_weights_are_those_of_torch() -> None:
    torch.manual_seed(0)
    attend, tokens = nn.MultiheadAttention(24, 3, batch_first=True), torch.randn(2, 7, 24)
    _, expected = attend(tokens, tokens, tokens)
    joint = nn.functional.linear(tokens, attend.in_proj_weight, attend.in_proj_bias)
    torch.testing.assert_close(attention_weights(joint[..., :48], 3), expected)
    torch.testing.assert_close(expected.sum(dim=-1), torch.ones(2, 7))


def test_rows_are_those_of_the_nearest_cells() -> None:
    height, width = 3, 5
    weights = torch.arange(15.0)[None, :, None].expand(1, 15, 15)  # each row holds its own cell's number
    cells = torch.tensor([[[0.0, 0.0], [4.2, 1.6], [-3.0, 9.0], [math.nan, 1.0]]])  # x, y
    rows = rows_at(weights, cells, (height, width))
    assert rows.shape == (1, 4, height, width)
    assert rows[0, :3].flatten(1).amin(dim=-1).tolist() == [0.0, 14.0, 10.0]
    assert rows[0, :3].flatten(1).amax(dim=-1).tolist() == [0.0, 14.0, 10.0]
    assert rows[0, 3].isnan().all()
