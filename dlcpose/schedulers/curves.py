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
    return _by_step(optimizer, lambda progress: 1.0, steps, warmup)


def cosine(optimizer: Optimizer, steps: int, *, warmup: float = 0.05, floor: float = 0.01) -> Scheduler:
    """Cosine decay from the full rate down to `floor` times it at the end of the run (Loshchilov & Hutter 2017)."""
    return _by_step(
        optimizer, lambda progress: floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2, steps, warmup
    )


def multistep(
    optimizer: Optimizer,
    steps: int,
    *,
    milestones: Sequence[float] = (0.8, 0.95),
    factor: float = 0.1,
    warmup: float = 0.0,
) -> Scheduler:
    """The rate multiplied by `factor` at each milestone, given as fractions of the run.

    Raises ValueError for milestones outside of (0, 1).
    """
    if wrong := [milestone for milestone in milestones if not 0 < milestone < 1]:
        raise ValueError(f"expected milestones as shares of the run, above 0 and below 1, got {wrong[0]!r:.80}")
    return _by_step(
        optimizer, lambda progress: factor ** sum(progress >= milestone for milestone in milestones), steps, warmup
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


def _by_step(optimizer: Optimizer, curve: Callable[[float], float], steps: int, warmup: float) -> Scheduler:
    warmup_steps = round(warmup * steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return curve(min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps)))

    scheduler: LRScheduler = LambdaLR(optimizer, factor)
    return {"scheduler": scheduler, "interval": "step"}
