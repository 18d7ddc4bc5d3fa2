"""Fused updates on the CPU: the same weights as by one operation after the other, whatever the layout of what is restored."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from dlcpose.config.compose import compose
from dlcpose.instantiate import Instantiator
from dlcpose.optimizers.fused import fuse_on_cpu
from dlcpose.structures.errors import CheckpointError

ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
KINDS = {
    "adam": partial(torch.optim.Adam, lr=0.01),
    "adamw": ADAMW,
    "sgd": partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
}


def network(memory_format: torch.memory_format = torch.channels_last) -> nn.Module:
    torch.manual_seed(0)
    # No bias that a norm takes out again: its gradient is nothing but rounding, which Adam makes large.
    first, depthwise, last = nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)
    made = nn.Sequential(first, nn.BatchNorm2d(8), depthwise, nn.ReLU(), last)
    return made.to(memory_format=memory_format)


def train(model: nn.Module, optimizer: Optimizer, *, steps: int, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 3, 12, 12, generator=generator)).square().mean().backward()
        optimizer.step()
    return [weight.detach().clone() for weight in model.parameters()]


def distance(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_weights_are_those_of_one_operation_after_the_other(name: str) -> None:
    plain, fused = network(), network()
    before = [weight.detach().clone() for weight in plain.parameters()]
    expected = train(plain, KINDS[name](plain.parameters()), steps=12)
    optimizer = fuse_on_cpu(KINDS[name](fused.parameters()))
    assert all(group["fused"] for group in optimizer.param_groups)
    found = train(fused, optimizer, steps=12)
    assert distance(found, expected) < 1e-4 * distance(expected, before)


@pytest.mark.parametrize("is_resumed", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_weights_may_begin_to_learn_later_than_others(name: str, is_resumed: bool) -> None:
    # As with callbacks=freeze, which thaws a backbone that the optimizer has known all the time.
    def thawed_by(prepare: Callable[[Optimizer], Optimizer]) -> list[torch.Tensor]:
        model = network()
        first_layer = next(iter(model.children()))
        first_layer.requires_grad_(False)
        optimizer = prepare(KINDS[name](model.parameters()))
        train(model, optimizer, steps=3)
        if is_resumed:
            begun, optimizer = optimizer, prepare(KINDS[name](model.parameters()))
            optimizer.load_state_dict(begun.state_dict())
        first_layer.requires_grad_(True)
        return train(model, optimizer, steps=6, seed=2)

    before = [weight.detach().clone() for weight in network().parameters()]
    expected = thawed_by(lambda optimizer: optimizer)
    assert distance(thawed_by(fuse_on_cpu), expected) < 1e-4 * distance(expected, before)


@pytest.mark.parametrize("fused_before", [False, True])
@pytest.mark.parametrize("layout_before", [torch.contiguous_format, torch.channels_last])
def test_state_of_another_layout_or_kind_is_taken_up(layout_before: torch.memory_format, fused_before: bool) -> None:
    # torch's fused kernel goes through the memory of weights, gradients and state side by side, whatever their strides.
    whole = network()
    expected_optimizer = ADAMW(whole.parameters())
    train(whole, expected_optimizer, steps=4)
    expected = train(whole, expected_optimizer, steps=4, seed=2)

    begun = network(layout_before)
    first: Optimizer = ADAMW(begun.parameters())
    train(begun, fuse_on_cpu(first) if fused_before else first, steps=4)
    continued = network()
    continued.load_state_dict(begun.state_dict())
    second = fuse_on_cpu(ADAMW(continued.parameters()))
    second.load_state_dict(first.state_dict())
    assert all(group["fused"] for group in second.param_groups)
    assert distance(train(continued, second, steps=4, seed=2), expected) < 1e-5


@pytest.mark.parametrize(
    "stated", [{"fused": False}, {"foreach": True}, {"differentiable": True}, {"capturable": True}]
)
def test_what_is_stated_is_kept(stated: dict[str, Any]) -> None:
    optimizer = fuse_on_cpu(torch.optim.AdamW(network().parameters(), **stated))
    assert [bool(group["fused"]) for group in optimizer.param_groups] == [False]


def test_dampened_momentum_is_updated_as_before() -> None:
    # Its first momentum is the whole gradient, which a momentum that begins at 0 is not.
    optimizer = fuse_on_cpu(torch.optim.SGD(network().parameters(), momentum=0.9, dampening=0.5))
    assert not optimizer.param_groups[0]["fused"]


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.Adamax])
def test_an_optimizer_without_a_fused_update_is_left_as_it_is(kind: Callable[..., Optimizer]) -> None:
    model = network()
    optimizer = fuse_on_cpu(kind(model.parameters()))
    assert "fused" not in optimizer.param_groups[0]
    train(model, optimizer, steps=1)


def test_another_librarys_optimizer_is_left_as_it_is() -> None:
    class Own(torch.optim.AdamW):
        pass

    assert fuse_on_cpu(Own(network().parameters())).param_groups[0]["fused"] is None


@pytest.mark.parametrize("option", ["adam", "adamw", "sgd", "slow_backbone", "layerwise"])
def test_every_option_of_the_group_is_fused(option: str) -> None:
    made = Instantiator()(compose([f"optimizer={option}"])["optimizer"], "optimizer")(network().named_parameters())
    assert all(group["fused"] for group in fuse_on_cpu(made).param_groups)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *(("adamw", key, torch.zeros(size)) for key in ("exp_avg", "exp_avg_sq") for size in ((), (1,), (8, 3, 3, 4))),
        *(("adam", "step", value) for value in (torch.zeros(0), torch.zeros(2))),
        ("sgd", "momentum_buffer", torch.zeros(1)),
        ("sgd", "momentum_buffer", "gift"),
    ],
)
def test_a_state_of_other_sizes_than_its_weights_is_refused_before_memory_beyond_it_is_written(
    name: str, key: str, value: Any
) -> None:
    model = network()
    optimizer = fuse_on_cpu(KINDS[name](model.parameters()))
    train(model, optimizer, steps=1)
    state = optimizer.state_dict()
    state["state"][0][key] = value
    with pytest.raises(CheckpointError, match=rf"^resume: the optimizer's {key} is not of the size of its weight"):
        fuse_on_cpu(KINDS[name](network().parameters())).load_state_dict(state)
