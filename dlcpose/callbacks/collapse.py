"""Detect collapsed runs by a validation figure: a run can collapse while its loss is still finite and falling."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging

from dlcpose.callbacks.best import best_of_run
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.errors import CheckpointError

logger = logging.getLogger(__name__)


class CollapseWatch(Callback):
    """Restores the weights of the best epoch when a run has collapsed, and ends it after `roll_back` such restarts.

    monitor: a logged figure, lower is better. factor: this many times the best value so far, or NaN, is a collapse.
    patience: validations in a row. roll_back: how often to go back before ending the run.
    """

    def __init__(
        self, *, monitor: str = "val/mean_error_px", factor: float = 5.0, patience: int = 3, roll_back: int = 1
    ) -> None:
        self.monitor, self.factor, self.patience, self.roll_back = monitor, factor, patience, roll_back
        self.best, self.collapsed, self.rolled_back = math.inf, 0, 0

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best, "collapsed": self.collapsed, "rolled_back": self.rolled_back}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        state: Mapping[str, Any] = state_dict
        best, counts = state.get("best"), [state.get(name) for name in ("collapsed", "rolled_back")]
        if type(best) not in (int, float) or not all(type(count) is int and count >= 0 for count in counts):
            raise CheckpointError(f"callbacks.collapse: expected numbers in the checkpoint, got {state_dict!s:.100}.")
        self.best = float(state["best"])
        self.collapsed, self.rolled_back = int(state["collapsed"]), int(state["rolled_back"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        is_bad = math.isfinite(self.best) and not value <= self.factor * self.best  # NaN is bad too
        self.collapsed = self.collapsed + 1 if is_bad else 0
        self.best = min(self.best, value) if math.isfinite(value) else self.best
        if self.collapsed >= self.patience:
            self._act(trainer, pl_module, value)

    def _act(self, trainer: Trainer, pl_module: LightningModule, value: float) -> None:
        what = (
            f"{self.monitor} has been above {self.factor:g} times its best of {self.best:.4g} for {self.patience} "
            f"validations (now {value:.4g}): the run has collapsed."
        )
        path = best_of_run(trainer)
        if path is None or self.rolled_back >= self.roll_back:
            trainer.should_stop = True
            logger.warning("%s It ends here. Lower optimizer.lr, or look at what the model sees.", what)
            return
        self.rolled_back, self.collapsed = self.rolled_back + 1, 0
        checkpoint = read_checkpoint_file(path, pl_module.device)
        pl_module.load_state_dict(checkpoint["state_dict"])
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging):  # the average goes back too, or it would bring the collapse again
                callback.on_load_checkpoint(trainer, pl_module, checkpoint)
        for optimizer in trainer.optimizers:
            optimizer.state.clear()  # moments gathered on the way down would lead there again
        logger.warning("%s It goes back to the weights of its best epoch.", what)
