"""The laws that all heatmap losses obey, run on each option of conf/loss."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional

from dlcpose.instantiate import Instantiator
from dlcpose.losses.heatmap import binary_cross_entropy, mean_squared_error, spatial_divergence

FOLDER = Path(__file__).parents[2] / "conf" / "loss"
OPTIONS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SHAPE = (2, 3, 8, 9)


@pytest.fixture(params=OPTIONS)
def loss(request: pytest.FixtureRequest) -> Callable[[Tensor, Tensor], Tensor]:
    return Instantiator()(yaml.safe_load((FOLDER / f"{request.param}.yaml").read_text()), "loss")


def maps(seed: int) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) * 0.98 + 0.01


def test_the_target_has_no_loss_and_any_other_map_has(loss: Callable) -> None:
    target = maps(0)
    assert float(loss(target, target)) == pytest.approx(0, abs=1e-6)
    assert loss(target, target).shape == ()
    for shift in (-0.005, 0.005):
        assert float(loss(target + shift, target)) > 0
    assert float(loss(maps(1), target)) > float(loss(target * 0.9 + maps(1) * 0.1, target))


def test_extreme_maps_are_finite(loss: Callable) -> None:
    pred = torch.zeros(SHAPE, requires_grad=True)
    value = loss(pred, torch.ones(SHAPE))
    value.backward()
    assert value.isfinite()
    assert pred.grad is not None
    assert pred.grad.isfinite().all()


def test_unsupervised_cells_have_no_loss_and_no_gradient(loss: Callable) -> None:
    target = maps(0)
    target[0, 1] = torch.nan
    pred, other = maps(1).requires_grad_(), maps(1)
    other[0, 1] = maps(2)[0, 1]
    value = loss(pred, target)
    torch.testing.assert_close(value, loss(other, target))
    value.backward()
    assert pred.grad is not None
    assert pred.grad.isfinite().all()
    assert (pred.grad[0, 1] == 0).all()
    assert (pred.grad[1] != 0).all()


def test_unsupervised_maps_have_no_loss(loss: Callable) -> None:
    pred = maps(1).requires_grad_()
    value = loss(pred, torch.full(SHAPE, torch.nan))
    value.backward()
    assert float(value) == 0
    assert pred.grad is not None
    assert (pred.grad == 0).all()


def test_a_cell_on_a_keypoint_weighs_more(loss: Callable) -> None:
    target = torch.zeros(SHAPE)
    target[..., 4, 4] = 1
    false_negatives, false_positives = torch.full(SHAPE, 0.01), torch.full(SHAPE, 0.01)
    false_negatives[..., 4, 4] = 0.5
    false_positives[..., 4, 4], false_positives[..., 0, 0] = 0.99, 0.5
    assert float(loss(false_negatives, target)) > float(loss(false_positives, target))


def test_half_precision_gives_what_full_precision_gives(loss: Callable) -> None:
    pred, target = maps(1).bfloat16(), maps(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(pred, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(pred.float(), target))


def test_without_weights_they_are_torchs() -> None:
    pred, target = maps(1), maps(0)
    entropy = -(target * target.log() + (1 - target) * (1 - target).log()).mean()
    torch.testing.assert_close(
        binary_cross_entropy(pred, target, foreground=0), functional.binary_cross_entropy(pred, target) - entropy
    )
    torch.testing.assert_close(mean_squared_error(pred, target, foreground=0), functional.mse_loss(pred, target))


@pytest.mark.parametrize(
    "low", [0.0, 1e-45, 1e-40, 1e-7]
)  # of Gaussians, far from a keypoint, and of saturated sigmoids
def test_where_probabilities_end_they_are_torchs(low: float) -> None:
    ends = torch.tensor([low, 0.5, 1.0 - low])
    pred, target = (each.flatten()[None, None].clone() for each in torch.meshgrid(ends, ends, indexing="ij"))
    again = pred.clone().requires_grad_()
    pred.requires_grad_()
    expected = (
        functional.binary_cross_entropy(again, target)
        + (torch.xlogy(target, target) + torch.xlogy(1 - target, 1 - target)).mean()
    )
    found = binary_cross_entropy(pred, target, foreground=0)
    torch.testing.assert_close(found, expected)
    (expected_gradient,), (gradient,) = torch.autograd.grad(expected, again), torch.autograd.grad(found, pred)
    torch.testing.assert_close(gradient, expected_gradient)


def test_divergence_over_cells_is_torchs() -> None:
    pred, target = maps(1).requires_grad_(), maps(0)
    target[0, 1], target[1, 0, 3] = 0.0, 0.0  # a map without a keypoint, and cells of one that are empty
    shares = target.flatten(2) / target.flatten(2).sum(-1, keepdim=True).clamp(min=1e-7)
    logarithms = (pred / pred.sum((2, 3), keepdim=True)).flatten(2).log()
    per_map = functional.kl_div(logarithms, shares, reduction="none").sum(-1)
    expected = per_map[target.amax((2, 3)) > 0].mean()
    found = spatial_divergence(pred, target)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each, pred)[0] for each in (found, expected)))


def test_a_prediction_of_nan_has_a_loss_of_nan(loss: Callable) -> None:
    pred = maps(1)
    pred[0, 0, 0, 0] = torch.nan
    assert loss(pred, maps(0)).isnan()


def test_subtracting_the_entropy_keeps_the_gradient() -> None:
    pred, again, target = maps(1).requires_grad_(), maps(1).requires_grad_(), maps(0)
    binary_cross_entropy(pred, target, foreground=0).backward()
    functional.binary_cross_entropy(again, target).backward()
    torch.testing.assert_close(pred.grad, again.grad)
