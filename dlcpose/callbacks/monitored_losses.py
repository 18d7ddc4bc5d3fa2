"""Check monitored terms of a loss, whose names only the first epoch shows."""

import difflib
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from dlcpose.structures.errors import ConfigError


class MonitoredLosses(Callback):
    """Raises ConfigError after the first validation, or epoch, that does not log a monitored term of the loss.

    A head names its terms as it computes them. Without this check what monitors one fails with an error of Lightning's, or
    is never heard of again. monitors: figures by the keys of the config that name them; others are left to the check of
    the config.
    """

    def __init__(self, monitors: Mapping[str, Any]) -> None:
        self.monitors = {where: monitor for where, monitor in monitors.items() if is_loss_term(monitor)}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._check(trainer, "val/")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, "train/")

    def _check(self, trainer: Trainer, split: str) -> None:
        given = [str(name) for name in trainer.callback_metrics if name.startswith(f"{split}loss")]
        for where, monitor in self.monitors.items():
            if given and monitor.startswith(split) and monitor not in given:
                near = difflib.get_close_matches(monitor, given, n=3) or given
                raise ConfigError(f"{where}: no epoch logs {monitor!r}. Nearest: {', '.join(near)}.")


def is_loss_term(monitor: Any) -> bool:
    """Whether a figure is one term of the loss, not their sum."""
    return str(monitor).startswith(("train/loss_", "val/loss_"))
