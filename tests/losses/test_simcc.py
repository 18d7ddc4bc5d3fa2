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
def test_it_is_the_mean_relative_entropy_of_scipy(temperature: float) -> None:
    pred, target = some()
    each = entropy(softmax(temperature * target.numpy(), -1), softmax(temperature * pred.numpy(), -1), axis=-1)
    assert float(bin_divergence(pred, target, temperature=temperature)) == pytest.approx(each.mean(), rel=1e-4)


def test_rtmposes_loss_is_a_multiple_of_it() -> None:
    pred, target = some()
    shares, logarithm = (10 * target).softmax(-1), (10 * pred).log_softmax(-1)
    theirs = torch.nn.functional.kl_div(logarithm, shares, reduction="none").mean(dim=-1).sum() / 5  # of 5 keypoints
    ours = bin_divergence(pred, target)
    torch.testing.assert_close(theirs, ours * 15 / (64 * 5), rtol=1e-4, atol=0)


def test_it_is_lowest_where_both_agree_up_to_a_constant() -> None:
    pred, target = some()
    assert float(bin_divergence(target, target)) == 0
    assert float(bin_divergence(target + 2.0, target)) == pytest.approx(0, abs=1e-5)
    assert float(bin_divergence(pred, target)) > 0.1


def test_unsupervised_keypoints_have_no_loss_and_no_gradient() -> None:
    pred, target = some()
    target[0, 2], target[1] = math.nan, math.nan
    pred.requires_grad_()
    value = bin_divergence(pred, target)
    value.backward()
    assert pred.grad is not None
    moved = pred.grad.abs().amax(dim=-1) > 0
    np.testing.assert_array_equal(moved.numpy(), ~target.isnan().any(dim=-1).numpy())
    kept = ~target.isnan().any(dim=-1)
    torch.testing.assert_close(value, bin_divergence(pred[kept][None], target[kept][None]))
    assert float(bin_divergence(pred, torch.full_like(target, math.nan))) == 0


def test_it_does_not_grow_with_the_batch() -> None:
    pred, target = some()
    torch.testing.assert_close(
        bin_divergence(pred.repeat(4, 1, 1), target.repeat(4, 1, 1)), bin_divergence(pred, target)
    )
