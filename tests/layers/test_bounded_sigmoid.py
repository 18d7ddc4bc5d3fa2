import itertools

import torch
from torch.nn import functional

from dlcpose.layers.bounded_sigmoid import MAX_LOGIT, bounded_sigmoid


def test_it_is_the_sigmoid_where_that_can_be_told_from_0_and_1() -> None:
    logits = torch.linspace(-MAX_LOGIT, MAX_LOGIT, 101)
    torch.testing.assert_close(bounded_sigmoid(logits), logits.sigmoid())
    assert ((bounded_sigmoid(torch.tensor([-1e4, 1e4])) > 0) & (bounded_sigmoid(torch.tensor([-1e4, 1e4])) < 1)).all()


def test_what_is_surely_wrong_has_the_gradient_of_the_cross_entropy_of_logits() -> None:
    ours = torch.tensor([-200.0, -17.0, -3.0, 3.0, 17.0, 200.0], requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    for target in (torch.zeros(6), torch.ones(6)):
        functional.binary_cross_entropy(bounded_sigmoid(ours), target, reduction="sum").backward()
        functional.binary_cross_entropy_with_logits(theirs, target, reduction="sum").backward()
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-2, rtol=0)
        ours.grad = theirs.grad = None


def test_the_loss_of_a_sure_mistake_does_not_jump() -> None:
    losses = [
        float(functional.binary_cross_entropy(bounded_sigmoid(torch.tensor(logit)), torch.tensor(0.0)))
        for logit in (14.0, 15.0, 16.0, 17.0, 100.0)
    ]
    assert all(abs(later - earlier) <= 1.1 for earlier, later in itertools.pairwise(losses))
