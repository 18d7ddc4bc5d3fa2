import torch
from torch.nn import functional

from dlcpose.losses.offsets import huber

SHAPE = (2, 3, 2, 6, 7)


def test_it_is_torchs_own_where_all_is_asked() -> None:
    torch.manual_seed(0)
    found, wanted = torch.randn(SHAPE) * 3, torch.randn(SHAPE)
    torch.testing.assert_close(huber(found, wanted), functional.huber_loss(found, wanted))


def test_only_asked_cells_count_and_pull() -> None:
    torch.manual_seed(0)
    found, wanted = torch.randn(SHAPE, requires_grad=True), torch.randn(SHAPE)
    asked = torch.rand(SHAPE) < 0.3
    value = huber(found, wanted.masked_fill(~asked, torch.nan))
    torch.testing.assert_close(value, functional.huber_loss(found[asked], wanted[asked]))
    value.backward()
    assert found.grad is not None
    assert found.grad.isfinite().all()
    assert ((found.grad != 0) == asked).all()


def test_nothing_asked_costs_nothing() -> None:
    found = torch.randn(SHAPE, requires_grad=True)
    value = huber(found, torch.full(SHAPE, torch.nan))
    value.backward()
    assert float(value) == 0
    assert found.grad is not None
    assert (found.grad == 0).all()
