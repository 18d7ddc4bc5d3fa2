"""What the batches of an epoch leave for its end: losses for its means, and predictions for its figures."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dlcpose.pipelines.epoch_means import (
    BatchLosses,
    RunningMeans,
    Sums,
    gather_from_devices,
    mean_over_batches,
    mean_over_devices,
)
from dlcpose.pipelines.finite_values import FiniteLosses
from dlcpose.structures.instances import PosePrediction


class EpochRecord:
    """Losses of this device's batches, and predictions of the frames it validates; at the end those of all devices.

    keys: of the current batch, for error messages. val_predictions: of the frames validated so far.
    """

    def __init__(self) -> None:
        self.keys: tuple[str, ...] = ()
        self.val_predictions: list[PosePrediction] = []
        self._train_losses = RunningMeans()
        self._val_losses: list[BatchLosses] = []
        self._finite_losses = FiniteLosses()

    def add_losses(self, losses: Mapping[str, Tensor], split: str, count: int, step: int) -> Tensor:
        """Take in the terms of `count` samples at a step of the run, and their sum, which is returned.

        Raises DivergedError where one of training is not finite.
        """
        total = torch.stack(list(losses.values())).sum()
        named = {f"{split}/loss": total, **{f"{split}/loss_{name}": value for name, value in losses.items()}}
        values = {name: value.detach() for name, value in named.items()}
        if split == "train":
            self._finite_losses.add(step, values, self.keys)
            self._train_losses.add(values, count)
        else:
            self._val_losses.append(BatchLosses(self.keys, values, count))
        return total

    def end_training(self) -> dict[str, float]:
        """The mean losses of the epoch's training over all devices; the next one begins."""
        means = mean_over_devices(gather_from_devices(self._train_losses.sums()))
        self._train_losses = RunningMeans()
        return means

    def end_validation(self) -> tuple[dict[str, float], dict[str, PosePrediction]]:
        """The mean losses of the epoch's validation, and the predictions by key, of all devices; the next one begins."""
        shares = gather_from_devices((self.val_predictions, [losses.to_plain() for losses in self._val_losses]))
        self.val_predictions, self._val_losses = [], []
        # A device with one batch less has repeated a frame of the first device, whose prediction overwrites it here.
        predictions = {prediction.key: prediction for share, _ in reversed(shares) for prediction in share}
        return mean_over_batches([batch for _, batches in shares for batch in batches]), predictions

    def check_finite(self) -> None:
        """Raises DivergedError where a loss of training was not finite."""
        self._finite_losses.check()

    def unfinished(self) -> Sums:
        """The losses of an unfinished epoch, for a checkpoint."""
        return self._train_losses.sums()

    def resume(self, unfinished: Sums | None) -> None:
        """Go on with the losses of an unfinished epoch."""
        self._train_losses = RunningMeans(unfinished)
