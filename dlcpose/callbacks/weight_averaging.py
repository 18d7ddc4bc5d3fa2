"""Weight averaging over the steps of a run (EMA, SWA): the averages are validated, drawn and saved."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from dlcpose.pipelines.data_statistics import data_statistics
from dlcpose.structures.errors import ConfigError


class AveragedWeights(WeightAveraging):
    """Lightning's WeightAveraging, except that the weights themselves count until something has been averaged.

    Lightning's would validate and save the weights that the run began with. A checkpoint holds the averages as its
    weights, and the trained weights beside them, so that a resumed run continues as if it had not been stopped.
    average: takes averages, current values and the count of steps averaged so far. What is no number that has a mean
    (batch-norm's count of batches, which edges a PAF graph keeps), or a statistic of the training data (a head's distances
    between keypoints), is as it is in the trained weights. Batch-norm's statistics belong to the weights, and are averaged.
    """

    def __init__(self, average: Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], None]) -> None:
        def average_or_follow(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor) -> None:
            if averaged[0].is_floating_point():  # all are of one dtype
                average(averaged, current, count)
                return
            for each, now in zip(averaged, current, strict=True):
                each.copy_(now)

        super().__init__(multi_avg_fn=average_or_follow)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._average_model is not None:
            for name in data_statistics(pl_module):
                self._average_model.module.get_buffer(name).copy_(pl_module.get_buffer(name))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow(pl_module)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow(pl_module)
        super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._follow(pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def _follow(self, pl_module: LightningModule) -> None:
        """Set the average to the weights until the first update."""
        averaged = self._average_model
        if averaged is not None and not int(averaged.n_averaged):
            averaged.module.load_state_dict(pl_module.state_dict())


class ExponentialMovingAverage(AveragedWeights):
    """Exponential moving average: after every step, `decay` times the average plus the rest of the new weights.

    Batch-norm's running statistics are averaged too. After n steps the decay is at most (1 + n) / (10 + n), so that a
    short run's average does not remember how it began (as TensorFlow's ExponentialMovingAverage has it).
    Raises ConfigError where decay is not from 0 to below 1.
    """

    def __init__(self, *, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"callbacks.ema.decay: expected a share from 0 to below 1, got {decay}.")

        def average(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor) -> None:
            steps = int(count)
            update = get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))  # type: ignore[no-untyped-call]
            update(averaged, current, count)

        super().__init__(average)


class StochasticWeightAverage(AveragedWeights):
    """The plain mean of the weights at the end of each epoch, from `start`, a share of the run, on.

    Needs a learning rate that stays high to the end: scheduler=constant, or scheduler.floor. Batch-norm's running
    statistics are averaged too, which stands in for the paper's last pass over the data. Raises ConfigError where start
    is not from 0 to below 1, or the run has no end to take a share of. Source: Izmailov et al. 2018 (Averaging Weights
    Leads to Wider Optima and Better Generalization), algorithm 1.
    """

    def __init__(self, *, start: float = 0.75) -> None:
        if not 0 <= start < 1:
            raise ConfigError(f"callbacks.swa.start: expected a share of the run from 0 to below 1, got {start}.")
        super().__init__(get_swa_multi_avg_fn())  # type: ignore[no-untyped-call]
        self.start, self.first_step, self.is_due = start, 0.0, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        steps = trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise ConfigError("callbacks.swa.start: a share of a run without end is not known. Set trainer.max_epochs.")
        self.first_step = self.start * steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Validation comes before Lightning's hook for the end of an epoch, so the last batch is the time.
        self.is_due = trainer.is_last_batch and trainer.global_step > self.first_step
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether the weights after this step are part of the mean."""
        return step_idx is not None and self.is_due
