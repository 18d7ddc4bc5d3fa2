"""Prune Optuna trials that are worse than the median of those before."""

import logging
import math
from typing import TYPE_CHECKING, Any

from pytorch_lightning import Callback, LightningModule, Trainer

from dlcpose.structures.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)


class TrialPruning(Callback):
    """Reports a figure to its Optuna trial after each validation, and ends training where it is worse than the median.

    What is compared is the best value so far with the median, at the same epoch, of the trials that got there (Optuna's
    MedianPruner). monitor: a logged figure. storage, study, trial: the sweeper's storage and study, and the trial's
    number. trials: how many run to their end before any is pruned. epochs: a trial is not pruned before this epoch.
    stopped: the epoch at which training was ended, None where it was not. Raises ConfigError at the start of a run that
    is no trial, or a trial of a study with several objectives.
    """

    def __init__(
        self,
        *,
        monitor: str | list[str],
        storage: str | None,
        study: str | None,
        trial: int | None,
        trials: int = 5,
        epochs: int = 5,
    ) -> None:
        self.monitor, self.storage, self.study_name, self.number = monitor, storage, study, trial
        self.trials, self.epochs = trials, epochs
        self.stopped: int | None = None
        self._trial: optuna.trial.Trial | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        stopped = state_dict.get("stopped")
        if stopped is not None and type(stopped) is not int:
            raise CheckpointError(f"callbacks.pruning: expected an epoch in the checkpoint, got {stopped!s:.100}.")
        self.stopped = stopped

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        if self.number is None or self.storage is None:
            raise ConfigError(
                "callbacks=pruning: this run is no trial of a study. Sweep with `-m hydra/sweeper=optuna`, or leave it out."
            )
        if isinstance(self.monitor, list):
            raise ConfigError(
                f"callbacks=pruning: Optuna prunes by one objective, the study has {len(self.monitor)}. Leave it out."
            )
        self._trial = self._opened()

    def _opened(self) -> "optuna.trial.Trial":
        import optuna

        assert self.number is not None
        assert self.storage is not None
        pruner = optuna.pruners.MedianPruner(n_startup_trials=self.trials, n_warmup_steps=self.epochs)
        study = optuna.load_study(study_name=self.study_name, storage=self.storage, pruner=pruner)
        # Optuna has no public access to a trial that another process has created.
        return optuna.trial.Trial(study, study.trials[self.number]._trial_id)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or self.stopped is not None:
            return
        is_hopeless = self._is_hopeless(trainer) if self._trial is not None else False
        if trainer.strategy.broadcast(is_hopeless):
            self.stopped = trainer.current_epoch + 1
            trainer.should_stop = True

    def _is_hopeless(self, trainer: Trainer) -> bool:
        assert self._trial is not None
        value = trainer.callback_metrics.get(str(self.monitor))
        if value is None or not math.isfinite(float(value)):
            return False
        self._trial.report(float(value), trainer.current_epoch)
        if not self._trial.should_prune():
            return False
        self._trial.set_user_attr("pruned", trainer.current_epoch + 1)
        logger.warning(
            "%s of %.4g at epoch %d is worse than the median of the trials before it: this one ends here.",
            self.monitor,
            float(value),
            trainer.current_epoch + 1,
        )
        return True
