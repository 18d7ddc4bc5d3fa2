"""The loss of location refinement against torch's Huber loss."""

import torch
from torch.nn import functional

from dlcpose.losses.offsets import huber

SHAPE = (2, 3, 2, 6, 7)


def test_it_is_torchs_where_all_is_supervised() -> None:
    torch.manual_seed(0)
    pred, target = torch.randn(SHAPE) * 3, torch.randn(SHAPE)
    torch.testing.assert_close(huber(pred, target), functional.huber_loss(pred, target))


def test_only_supervised_cells_count_and_have_gradients() -> None:
    torch.manual_seed(0)
    pred, target = torch.randn(SHAPE, requires_grad=True), torch.randn(SHAPE)
    supervised = torch.rand(SHAPE) < 0.3
    value = huber(pred, target.masked_fill(~supervised, torch.nan))
    torch.testing.assert_close(value, functional.huber_loss(pred[supervised], target[supervised]))
    value.backward()
    assert pred.grad is not None
    assert pred.grad.isfinite().all()
    assert ((pred.grad != 0) == supervised).all()


def test_unsupervised_maps_have_no_loss() -> None:
    pred = torch.randn(SHAPE, requires_grad=True)
    value = huber(pred, torch.full(SHAPE, torch.nan))
    value.backward()
    assert float(value) == 0
    assert pred.grad is not None
    assert (pred.grad == 0).all()
