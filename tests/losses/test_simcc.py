"""The divergence of bins, against scipy's entropy and RTMPose's formula."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from dlcpose.codecs.simcc import draw_bins
from dlcpose.losses.simcc import bin_divergence


def some(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    places = 64 * torch.rand((3, 1, 5), generator=generator)
    return torch.rand((3, 5, 64), generator=generator), draw_bins(places, 2.0, 64)


@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_it_is_the_mean_relative_entropy_as_scipy_has_it(temperature: float) -> None:
    found, wanted = some()
    each = entropy(softmax(temperature * wanted.numpy(), -1), softmax(temperature * found.numpy(), -1), axis=-1)
    assert float(bin_divergence(found, wanted, temperature=temperature)) == pytest.approx(each.mean(), rel=1e-4)


def test_rtmposes_own_is_a_multiple_of_it() -> None:
    found, wanted = some()
    target, logarithm = (10 * wanted).softmax(-1), (10 * found).log_softmax(-1)
    theirs = torch.nn.functional.kl_div(logarithm, target, reduction="none").mean(dim=-1).sum() / 5  # of 5 keypoints
    ours = bin_divergence(found, wanted)
    torch.testing.assert_close(theirs, ours * 15 / (64 * 5), rtol=1e-4, atol=0)


def test_it_is_least_where_both_agree_up_to_a_constant() -> None:
    found, wanted = some()
    assert float(bin_divergence(wanted, wanted)) == 0
    assert float(bin_divergence(wanted + 2.0, wanted)) == pytest.approx(0, abs=1e-5)
    assert float(bin_divergence(found, wanted)) > 0.1


def test_what_is_not_asked_costs_nothing_and_moves_nothing() -> None:
    found, wanted = some()
    wanted[0, 2], wanted[1] = math.nan, math.nan
    found.requires_grad_()
    value = bin_divergence(found, wanted)
    value.backward()
    assert found.grad is not None
    moved = found.grad.abs().amax(dim=-1) > 0
    np.testing.assert_array_equal(moved.numpy(), ~wanted.isnan().any(dim=-1).numpy())
    kept = ~wanted.isnan().any(dim=-1)
    torch.testing.assert_close(value, bin_divergence(found[kept][None], wanted[kept][None]))
    assert float(bin_divergence(found, torch.full_like(wanted, math.nan))) == 0


def test_it_does_not_grow_with_the_batch() -> None:
    found, wanted = some()
    torch.testing.assert_close(
        bin_divergence(found.repeat(4, 1, 1), wanted.repeat(4, 1, 1)), bin_divergence(found, wanted)
    )
