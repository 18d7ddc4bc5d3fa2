"""Learning rates step by step, beside torch's own schedules; every option of conf with every optimizer."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, MultiStepLR, ReduceLROnPlateau

from dlcpose.build import with_direction
from dlcpose.instantiate import Instantiator
from dlcpose.metrics.base import builtin_infos
from dlcpose.schedulers.curves import constant, cosine, multistep, plateau
from dlcpose.structures.errors import ConfigError

CONF = Path(__file__).parents[2] / "conf"
SCHEDULES = sorted(path.stem for path in (CONF / "scheduler").glob("*.yaml"))
OPTIMIZERS = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
STEPS, RATE = 200, 0.4


def sgd() -> SGD:
    return SGD([nn.Parameter(torch.zeros(1))], lr=RATE)


def rates(scheduler: Any, optimizer: Optimizer, steps: int = STEPS) -> list[float]:
    """The rate of each step of a run."""
    used = []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return used


def ours(scheduler: Callable, **settings: Any) -> list[float]:
    optimizer = sgd()
    described = scheduler(optimizer, STEPS, **settings)
    assert described["interval"] == "step"
    return rates(described["scheduler"], optimizer)


def test_constant_without_warmup_is_the_rate() -> None:
    assert ours(constant) == [RATE] * STEPS


@pytest.mark.parametrize("scheduler", [constant, cosine, multistep])
def test_warmup_rises_by_equal_steps_and_ends_at_the_rate(scheduler: Callable) -> None:
    used = ours(scheduler, warmup=0.1)
    rises = [after - before for before, after in itertools.pairwise(used[:21])]
    assert rises == pytest.approx([RATE / 21] * 20, rel=1e-6)
    assert used[0] > 0
    assert used[20] == pytest.approx(RATE)


@pytest.mark.parametrize("warmup", [0.0, 0.02, 0.3])
def test_milestones_are_shares_of_the_run_whatever_the_warmup(warmup: float) -> None:
    used = ours(multistep, warmup=warmup, milestones=(0.5, 0.8), factor=0.1)
    drops = [step for step in range(1, STEPS) if used[step] < used[step - 1]]
    assert drops == [0.5 * STEPS, 0.8 * STEPS]


def test_warmup_is_torchs_linear() -> None:
    optimizer = sgd()
    theirs = rates(LinearLR(optimizer, start_factor=1 / 21, total_iters=20), optimizer)
    assert ours(constant, warmup=0.1) == pytest.approx(theirs)


def test_cosine_is_torchs_cosine_and_ends_at_its_floor() -> None:
    optimizer = sgd()
    theirs = rates(CosineAnnealingLR(optimizer, STEPS, eta_min=0.1 * RATE), optimizer)
    used = ours(cosine, warmup=0.0, floor=0.1)
    assert used == pytest.approx(theirs)
    optimizer = sgd()
    scheduler = cosine(optimizer, STEPS, warmup=0.05, floor=0.1)["scheduler"]
    rates(scheduler, optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * RATE)
    rates(scheduler, optimizer, 50)  # a run that goes on stays there
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * RATE)


def test_cosine_falls_all_the_way_after_its_warmup() -> None:
    used = ours(cosine, warmup=0.1)
    assert all(before > after for before, after in itertools.pairwise(used[20:]))


def test_multistep_is_torchs_multistep() -> None:
    optimizer = sgd()
    theirs = rates(MultiStepLR(optimizer, [int(0.5 * STEPS), int(0.75 * STEPS)], gamma=0.3), optimizer)
    assert ours(multistep, milestones=(0.5, 0.75), factor=0.3) == pytest.approx(theirs)


def test_plateau_names_its_figure_and_lowers_the_rate() -> None:
    optimizer = sgd()
    described = plateau(optimizer, STEPS, monitor="val/mean_error_px", mode="min", factor=0.5, patience=2)
    assert (described["interval"], described["monitor"], described["strict"]) == ("epoch", "val/mean_error_px", True)
    scheduler = described["scheduler"]
    assert isinstance(scheduler, ReduceLROnPlateau)
    used = []
    for figure in (5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.0):
        scheduler.step(figure)
        used.append(optimizer.param_groups[0]["lr"] / RATE)
    assert used == [1, 1, 1, 1, 0.5, 0.5, 0.5]


def test_plateau_keeps_the_rate_while_a_figure_that_is_better_when_higher_rises() -> None:
    optimizer = sgd()
    late = Instantiator()({**option("scheduler", "plateau"), "monitor": "val/oks_ap", "patience": 1}, "scheduler")
    described = with_direction(late, "scheduler", builtin_infos())(optimizer, STEPS)
    used = []
    for figure in (0.1, 0.3, 0.5, 0.7, 0.6, 0.6):
        described["scheduler"].step(figure)
        used.append(optimizer.param_groups[0]["lr"] / RATE)
    assert used == [1, 1, 1, 1, 1, 0.5]


@pytest.mark.parametrize("milestones", [(95, 80), (0.5, 1.0), (0.0,), (-0.1, 0.5)])
def test_milestones_are_shares_of_the_run(milestones: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="milestones"):
        multistep(sgd(), STEPS, milestones=milestones)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("scheduler", [constant, cosine, multistep])
def test_runs_of_a_step_or_two(scheduler: Callable, steps: int) -> None:
    optimizer = sgd()
    used = rates(scheduler(optimizer, steps, warmup=0.5)["scheduler"], optimizer, steps)
    assert all(0 < rate <= RATE and math.isfinite(rate) for rate in used)


def option(group: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text())


@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
@pytest.mark.parametrize("scheduler_name", SCHEDULES)
def test_every_option_runs_with_every_optimizer(scheduler_name: str, optimizer_name: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    optimizer = Instantiator()(option("optimizer", optimizer_name), "optimizer")(list(layer.named_parameters()))
    first = optimizer.param_groups[0]["lr"]
    late = Instantiator()(option("scheduler", scheduler_name), "scheduler")
    described = with_direction(late, "scheduler", builtin_infos())(optimizer, 50)
    inputs, targets = torch.randn(16, 3), torch.randn(16, 1)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = (layer(inputs) - targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        described["scheduler"].step(*([loss.item()] if "monitor" in described else []))
        assert 0 < optimizer.param_groups[0]["lr"] <= first * (1 + 1e-9)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("scheduler_name", SCHEDULES)
def test_a_misspelled_setting_is_named(scheduler_name: str) -> None:
    with pytest.raises(ConfigError, match=r"scheduler\.warmpu"):
        Instantiator()({**option("scheduler", scheduler_name), "warmpu": 0.1}, "scheduler")
