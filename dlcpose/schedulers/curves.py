"""Learning rates that rise linearly at first and then follow a curve: one factor for each step of a run."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

# Every schedule is built late, with the optimizer and the run's number of steps, and returns what Lightning asks for.
Scheduler = dict[str, Any]


def constant(optimizer: Optimizer, steps: int, *, warmup: float = 0.0) -> Scheduler:
    """The same rate throughout. warmup: share of the run in which it rises from zero."""
    return _by_step(optimizer, lambda progress: 1.0, steps, warmup)


def cosine(optimizer: Optimizer, steps: int, *, warmup: float = 0.05, floor: float = 0.01) -> Scheduler:
    """Half a cosine from the full rate down to `floor` times it at the end of the run (Loshchilov & Hutter 2017)."""
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
    """The rate times `factor` at each milestone, given as shares of the run."""
    return _by_step(
        optimizer, lambda progress: factor ** sum(progress >= milestone for milestone in milestones), steps, warmup
    )


def plateau(
    optimizer: Optimizer, steps: int, *, monitor: str = "val/loss", factor: float = 0.5, patience: int = 5
) -> Scheduler:
    """The rate times `factor` when `monitor` has not fallen for `patience` validations."""
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor, "strict": True}


def _by_step(optimizer: Optimizer, curve: Callable[[float], float], steps: int, warmup: float) -> Scheduler:
    rising = round(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return curve(min(1.0, (step - rising) / max(1, steps - rising)))

    scheduler: LRScheduler = LambdaLR(optimizer, factor)
    return {"scheduler": scheduler, "interval": "step"}
