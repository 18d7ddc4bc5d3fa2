"""Detect collapsed runs by a validation figure: a run can collapse while its loss is still finite and falling."""

import logging
import math
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging

from dlcpose.callbacks.best import best_of_run
from dlcpose.metrics.figure_info import Mode
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.errors import CheckpointError

logger = logging.getLogger(__name__)


class CollapseWatch(Callback):
    """Restores the weights of the best epoch when a run has collapsed, and ends it after `roll_back` such restarts.

    monitor: a logged figure, mode: "min" or "max", what is best of it. factor: so many times worse than the best value
    so far is a collapse. min_best: of a figure that is better when higher, the best value from which on that counts; below
    it, as in the first epochs of a model that detects hardly any animal, a fall is chance. patience: validations in a row,
    those without a value (NaN) left out: where nothing was matched there is no error, and weights that are not finite
    end a run anyway. roll_back: how often to go back before ending the run.
    """

    def __init__(
        self,
        *,
        monitor: str,
        mode: Mode,
        factor: float = 5.0,
        min_best: float = 0.1,
        patience: int = 3,
        roll_back: int = 1,
    ) -> None:
        self.monitor, self.mode, self.factor, self.min_best = monitor, mode, factor, min_best
        self.patience, self.roll_back = patience, roll_back
        self.best, self.collapsed, self.rolled_back = math.inf if mode == "min" else -math.inf, 0, 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor,
            "best": self.best,
            "collapsed": self.collapsed,
            "rolled_back": self.rolled_back,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best, counts = state_dict.get("best"), [state_dict.get(name) for name in ("collapsed", "rolled_back")]
        if type(best) not in (int, float) or not all(type(count) is int and count >= 0 for count in counts):
            raise CheckpointError(f"callbacks.collapse: expected numbers in the checkpoint, got {state_dict!s:.100}.")
        if state_dict.get("monitor") == self.monitor:  # values of another figure say nothing of this one
            self.best = float(state_dict["best"])
            self.collapsed, self.rolled_back = int(state_dict["collapsed"]), int(state_dict["rolled_back"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        if math.isnan(value):
            return
        self.collapsed = self.collapsed + 1 if self._is_much_worse(value) else 0
        if math.isfinite(value):
            self.best = min(self.best, value) if self.mode == "min" else max(self.best, value)
        if self.collapsed >= self.patience:
            self._act(trainer, pl_module, value)

    def _is_much_worse(self, value: float) -> bool:
        if not math.isfinite(self.best):
            return False
        if self.mode == "min":
            return self.best > 0 and value > self.factor * self.best  # of a loss below 0 no multiple is worse
        return self.best >= self.min_best and value < self.best / self.factor

    def _act(self, trainer: Trainer, pl_module: LightningModule, value: float) -> None:
        what = (
            f"{self.monitor} has been {self.factor:g} times worse than its best of {self.best:.4g} for {self.patience} "
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
