"""The loss of fields: zero at the target, by hand, and not dominated by empty cells."""

import pytest
import torch

from dlcpose.losses.fields import paf_loss


def edge() -> torch.Tensor:
    """(1, 1, 2, 10, 10) with five cells of an edge along x."""
    target = torch.zeros(1, 1, 2, 10, 10)
    target[0, 0, 0, 4, 2:7] = 1
    return target


def test_the_target_has_no_loss() -> None:
    assert paf_loss(edge(), edge()).item() == 0


def test_the_value_is_the_weighted_mean() -> None:
    pred = edge() + 0.1
    expected = (0.02 * 95 + 0.02 * 11 * 5) / (95 + 11 * 5)
    assert paf_loss(pred, edge(), foreground=10.0).item() == pytest.approx(expected)


def test_a_missing_edge_costs_more_than_noise_of_the_same_size_elsewhere() -> None:
    beside = edge()
    beside[0, 0, 0, 8, 2:7] = 1
    assert paf_loss(torch.zeros_like(edge()), edge()) > 5 * paf_loss(beside, edge())


def test_no_edges_have_no_loss_but_gradients() -> None:
    pred = torch.zeros(2, 0, 2, 5, 5, requires_grad=True)
    paf_loss(pred, torch.zeros(2, 0, 2, 5, 5)).backward()
    pred = torch.zeros(1, 1, 2, 10, 10, requires_grad=True)
    paf_loss(pred, edge()).backward()
    assert pred.grad is not None
    assert pred.grad.isfinite().all()
    assert pred.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_value_and_gradient_are_those_of_autograd_and_nothing_is_changed(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(2, 5, 6, 3, 2, generator=generator).permute(0, 3, 4, 1, 2).to(dtype).requires_grad_()
    target = torch.randn(2, 3, 2, 5, 6, generator=generator)  # laid out otherwise
    before = pred.detach().clone(), target.clone()
    plain = pred.detach().float().requires_grad_()
    weights = 1 + 10 * target.norm(dim=2, keepdim=True)
    expected = ((plain - target) ** 2 * weights).sum() / weights.sum()
    expected.backward()
    found = paf_loss(pred, target)
    (3 * found).backward()
    torch.testing.assert_close(found, expected)
    assert pred.grad is not None
    assert plain.grad is not None
    assert pred.grad.dtype == dtype
    torch.testing.assert_close(
        pred.grad, (3 * plain.grad).to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-7
    )
    assert torch.equal(pred.detach(), before[0])
    assert torch.equal(target, before[1])
