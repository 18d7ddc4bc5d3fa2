"""Progress of a run: images per second and the current error, as a bar in a terminal and as lines elsewhere."""

import math
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from rich.console import Console

from dlcpose.structures.run_length import epochs_of_run

FIGURE = "val/mean_error_px"


class Progress(RichProgressBar):
    """Lightning's rich bar with the rate and the error in pixels; where there is no terminal, one line for each epoch."""

    def __init__(self) -> None:
        self.is_terminal = Console().is_terminal
        super().__init__(refresh_rate=1 if self.is_terminal else 0)  # 0 draws no bar
        self.began, self.images, self.seconds, self.total_images = 0.0, 0, 0.0, 0

    @property
    def images_per_s(self) -> float:
        """Training images per second over the run so far, without each epoch's first batch; NaN where there are no others."""
        return self.total_images / self.seconds if self.seconds else float("nan")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.began = time.perf_counter()  # not called for an epoch that is resumed in its middle

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.began, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch) * trainer.world_size
        if batch_idx == 0:
            # The first batch waits for workers to start and kernels to be chosen.
            self.began, self.images = time.perf_counter(), 0
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self._stop_clock()  # in epochs without validation
        if not self.is_terminal and trainer.is_global_zero:
            figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
            epochs = epochs_of_run(trainer, trainer.num_training_batches)
            error = f", error {_error_text(figures[FIGURE])}" if FIGURE in figures else ""
            rate = "" if math.isnan(self.images_per_s) else f", {self.images_per_s:.1f} images/s"
            print(
                f"epoch {trainer.current_epoch + 1}/{'?' if epochs is None else epochs}: "
                f"loss {figures.get('train/loss', float('nan')):.4f}{error}{rate}",
                flush=True,
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_start(trainer, pl_module)
        self._stop_clock()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        self.began = time.perf_counter()  # an epoch may go on after it

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The values at the end of the bar."""
        shown, rate = trainer.callback_metrics, self._rate_now()
        items: dict[str, Any] = {
            "loss": f"{float(shown['train/loss']):.4f}" if "train/loss" in shown else "–",
            "images/s": "–" if math.isnan(rate) else f"{rate:.1f}",
        }
        if FIGURE in shown:
            items["error"] = _error_text(float(shown[FIGURE]))
        return items

    def _rate_now(self) -> float:
        passed = time.perf_counter() - self.began
        return self.images / passed if self.images else self.images_per_s

    def _stop_clock(self) -> None:
        if self.images:
            self.seconds += time.perf_counter() - self.began
            self.total_images += self.images
            self.images = 0


def _error_text(error: float) -> str:
    """An error in pixels; NaN is that of a model, mostly a young one, that finds none of the labeled animals."""
    return "– (no animal found)" if math.isnan(error) else f"{error:.2f} px"
