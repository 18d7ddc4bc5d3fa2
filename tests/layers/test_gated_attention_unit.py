"""The gated attention unit, against its formula written out for each token."""

import math

import numpy as np
import torch

from dlcpose.layers.gated_attention_unit import GatedAttentionUnit, ScaleNorm

WIDTH, ATTENDED, TOKENS = 6, 4, 5


def unit_and_tokens() -> tuple[GatedAttentionUnit, torch.Tensor]:
    torch.manual_seed(0)
    unit = GatedAttentionUnit(WIDTH, expansion=3, attended=ATTENDED)
    for weight in unit.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return unit, torch.randn(2, TOKENS, WIDTH)


def test_it_is_the_formula() -> None:
    unit, tokens = unit_and_tokens()
    with torch.no_grad():
        found = unit(tokens)[1].numpy()
    weights = {name: value.numpy().astype(float) for name, value in unit.state_dict().items()}
    given = tokens[1].numpy().astype(float)
    gates, values, queries, keys = [], [], [], []
    for token in given:
        spread = weights["spread.weight"] @ (token / np.sqrt(np.mean(token**2)) * weights["norm.scale"])
        gate, value, base = np.split(spread / (1 + np.exp(-spread)), [3 * WIDTH, 6 * WIDTH])
        gates.append(gate)
        values.append(value)
        queries.append(base * weights["factors"][0] + weights["shifts"][0])
        keys.append(base * weights["factors"][1] + weights["shifts"][1])
    for token, gate, query, answer in zip(given, gates, queries, found, strict=True):
        heard = [max(0.0, query @ key / math.sqrt(ATTENDED)) ** 2 for key in keys]
        read = sum(weight * value for weight, value in zip(heard, values, strict=True))
        expected = weights["share"] * token + weights["gather.weight"] @ (gate * read)
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)


def test_tokens_have_no_order() -> None:
    unit, tokens = unit_and_tokens()
    order = torch.randperm(TOKENS)
    torch.testing.assert_close(unit(tokens[:, order]), unit(tokens)[:, order])


def test_norms_are_equal_and_zero_stays_zero() -> None:
    norm = ScaleNorm()
    norm.scale.data.fill_(3.0)
    normed = norm(100 * torch.randn(4, 7))
    torch.testing.assert_close(normed.square().mean(dim=-1).sqrt(), torch.full((4,), 3.0))
    assert norm(torch.zeros(1, 7)).abs().max() == 0
