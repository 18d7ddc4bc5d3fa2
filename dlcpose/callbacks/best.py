"""The checkpoint of the best epoch."""

import math
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from dlcpose.metrics.figure_info import Mode
from dlcpose.structures.augmentation import first_closing_epoch
from dlcpose.structures.errors import CheckpointError
from dlcpose.structures.run_length import epochs_of_run

FOLDER = "checkpoints"  # within a run folder
NONE = -1  # no epoch yet
BY_CHANCE = 0.2  # of the best value: by so much a closing epoch may be worse than one before


class BestCheckpoint(ModelCheckpoint):
    """Keeps the epoch with the best value of a figure as checkpoints/best.ckpt of the run, of its closing epochs if it can.

    Validation frames are few and close to each other: an epoch in the middle of a run, of a high rate and weak
    augmentation, may do better on them by chance and worse elsewhere. So the first of the closing epochs takes the place of
    the best before it, unless it is much worse; a run that ends earlier keeps that.

    A resumed run restores only the best value from the checkpoint: the files are looked for in the run's own folder,
    which may have been moved, or have come from somebody else. run_dir: of the run. monitor: a logged figure, mode:
    "min" or "max", what is best of it. every_n_epochs: how often the figure is compared.
    """

    def __init__(self, run_dir: str | Path, *, monitor: str, mode: Mode, every_n_epochs: int | None = None) -> None:
        super().__init__(
            Path(run_dir) / FOLDER,
            filename="best",
            monitor=monitor,
            mode=mode,
            every_n_epochs=every_n_epochs,
            enable_version_counter=False,
        )
        self.best_epoch = NONE

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether the epoch is to be kept."""
        is_best = super().check_monitor_top_k(trainer, current)
        if current is not None and self.best_epoch < _first_closing_epoch(trainer) <= trainer.current_epoch:
            is_best = is_best or self._is_comparable(float(current))
        if is_best:
            self.best_epoch = trainer.current_epoch
        return is_best

    def _is_comparable(self, value: float) -> bool:
        """Whether a value is worse than the best one by no more than chance may make it."""
        if self.best_model_score is None:
            return False
        best = float(self.best_model_score)
        worse = value - best if self.mode == "min" else best - value
        return worse <= BY_CHANCE * abs(best)  # False for NaN

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, and which epoch is the best."""
        return {**super().state_dict(), "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best value and its epoch, where the run's folder has the checkpoint that they are of."""
        path, score = Path(str(self.dirpath)) / "best.ckpt", score_in(state_dict)
        epoch = state_dict.get("best_epoch", NONE)
        if type(epoch) is not int:
            raise CheckpointError(f"callbacks.best: expected the number of the best epoch, got {epoch!r:.80}.")
        if score is None or not path.is_file():
            return
        self.best_epoch = epoch
        self.best_model_path = self.kth_best_model_path = str(path)
        self.best_model_score = self.kth_value = score
        self.best_k_models = {str(path): score}


def _first_closing_epoch(trainer: Trainer) -> int:
    """Of a run that has an end; of another there is none."""
    epochs = epochs_of_run(trainer, trainer.num_training_batches)
    return sys.maxsize if epochs is None else first_closing_epoch(epochs)


def score_in(state_dict: dict[str, Any]) -> Tensor | None:
    """The best value in the state of a ModelCheckpoint, None where there is none yet.

    Raises CheckpointError for anything but a number.
    """
    score = state_dict.get("best_model_score")
    if score is None:
        return None
    is_number = isinstance(score, (int, float)) or (isinstance(score, Tensor) and score.numel() == 1)
    if not is_number:
        raise CheckpointError(
            f"callbacks.best: expected a number as best_model_score in the checkpoint, got {score!r:.80}."
        )
    # Of epochs without a value (NaN) Lightning keeps the first as the best, and an infinity as its value.
    return torch.as_tensor(float(score)) if math.isfinite(float(score)) else None


def best_of_run(trainer: Trainer, *, monitored: bool = True) -> Path | None:
    """The checkpoint of the best epoch, where it lies in the run's own folder; None where there is none.

    monitored: whether a checkpoint that is chosen by no figure, the last one, does not count.
    """
    saved = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint) and one.best_model_path]
    chosen = sorted((one for one in saved if one.monitor or not monitored), key=lambda one: one.monitor is None)
    run_dir = Path(trainer.default_root_dir).resolve()
    paths = (Path(one.best_model_path) for one in chosen)
    return next((path for path in paths if path.is_file() and run_dir in path.resolve().parents), None)
