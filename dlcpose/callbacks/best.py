"""The checkpoint of the best epoch."""

import math
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from dlcpose.structures.errors import CheckpointError

FOLDER = "checkpoints"  # within a run folder


class BestCheckpoint(ModelCheckpoint):
    """Keeps the epoch with the best value of a figure as checkpoints/best.ckpt of the run.

    A resumed run restores only the best value from the checkpoint: the files are looked for in the run's own folder,
    which may have been moved, or have come from somebody else. run_dir: of the run. monitor: a logged figure, mode:
    whether "min" or "max" is better. every_n_epochs: how often the figure is compared.
    """

    def __init__(self, run_dir: str | Path, *, monitor: str, mode: str, every_n_epochs: int | None = None) -> None:
        super().__init__(
            Path(run_dir) / FOLDER,
            filename="best",
            monitor=monitor,
            mode=mode,
            every_n_epochs=every_n_epochs,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best value, where the run's folder has the checkpoint that it is of."""
        path, score = Path(str(self.dirpath)) / "best.ckpt", score_in(state_dict)
        if score is None or not path.is_file():
            return
        self.best_model_path = self.kth_best_model_path = str(path)
        self.best_model_score = self.kth_value = score
        self.best_k_models = {str(path): score}


def score_in(state_dict: dict[str, Any]) -> Tensor | None:
    """The best value in the state of a ModelCheckpoint, None where there is none yet.

    Raises CheckpointError for anything but a number.
    """
    score = state_dict.get("best_model_score")
    if score is None:
        return None
    is_number = isinstance(score, (int, float)) or (isinstance(score, Tensor) and score.numel() == 1)
    if not is_number or not math.isfinite(float(score)):
        raise CheckpointError(
            f"callbacks.best: expected a finite best_model_score in the checkpoint, got {score!r:.80}."
        )
    return torch.as_tensor(float(score))


def best_of_run(trainer: Trainer, *, monitored: bool = True) -> Path | None:
    """The checkpoint of the best epoch, where it lies in the run's own folder; None where there is none.

    monitored: whether a checkpoint that is chosen by no figure, the last one, does not count.
    """
    saved = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint) and one.best_model_path]
    chosen = sorted((one for one in saved if one.monitor or not monitored), key=lambda one: one.monitor is None)
    run_dir = Path(trainer.default_root_dir).resolve()
    paths = (Path(one.best_model_path) for one in chosen)
    return next((path for path in paths if path.is_file() and run_dir in path.resolve().parents), None)
