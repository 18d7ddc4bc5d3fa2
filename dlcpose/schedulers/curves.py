"""Learning rate schedules: linear warmup, then constant, cosine or multi-step; and reduction on plateau."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

# Every schedule is called with the optimizer and the run's number of steps, and returns Lightning's scheduler config.
Scheduler = dict[str, Any]


def constant(optimizer: Optimizer, steps: int, *, warmup: float = 0.0) -> Scheduler:
    """A constant rate. warmup: fraction of the run in which it rises from zero."""
    return _by_step(optimizer, lambda step: 1.0, round(warmup * steps))


def cosine(optimizer: Optimizer, steps: int, *, warmup: float = 0.05, floor: float = 0.01) -> Scheduler:
    """Cosine decay from the full rate down to `floor` times it at the end of the run (Loshchilov & Hutter 2017)."""
    begin = round(warmup * steps)

    def factor(step: int) -> float:
        progress = min(1.0, (step - begin) / max(1, steps - begin))
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return _by_step(optimizer, factor, begin)


def multistep(
    optimizer: Optimizer,
    steps: int,
    *,
    milestones: Sequence[float] = (0.8, 0.95),
    factor: float = 0.1,
    warmup: float = 0.0,
) -> Scheduler:
    """The rate multiplied by `factor` at each milestone, given as fractions of the run, its warmup among it.

    Raises ValueError for milestones outside of (0, 1).
    """
    if wrong := [milestone for milestone in milestones if not 0 < milestone < 1]:
        raise ValueError(f"expected milestones as shares of the run, above 0 and below 1, got {wrong[0]!r:.80}")
    return _by_step(
        optimizer,
        lambda step: factor ** sum(step / max(1, steps) >= milestone for milestone in milestones),
        round(warmup * steps),
    )


def plateau(
    optimizer: Optimizer,
    steps: int,
    *,
    monitor: str,
    mode: Literal["min", "max"],
    factor: float = 0.5,
    patience: int = 5,
) -> Scheduler:
    """The rate multiplied by `factor` when `monitor` has not improved for `patience` validations.

    mode: what is best of the figure.
    """
    scheduler = ReduceLROnPlateau(optimizer, mode, factor=factor, patience=patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor, "strict": True}


def _by_step(optimizer: Optimizer, curve: Callable[[int], float], warmup_steps: int) -> Scheduler:
    """A rise to the full rate in so many steps, then the rate times the curve's factor at each step of the run."""

    def factor(step: int) -> float:
        return (step + 1) / (warmup_steps + 1) if step < warmup_steps else curve(step)

    scheduler: LRScheduler = LambdaLR(optimizer, factor)
    return {"scheduler": scheduler, "interval": "step"}
