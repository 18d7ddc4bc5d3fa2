import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch

from dlcpose.callbacks.progress import Progress
from tests.made_up_runs import frames_of, run_of, tiny_config, trainer_of

PAUSE = 0.02


class Slow(lightning.Callback):
    """Makes each training batch, and each validation, take at least so long."""

    def __init__(self, validation: float = 0.0) -> None:
        self.validation = validation

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        time.sleep(PAUSE)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        time.sleep(self.validation)


def run(folder: Path, *, epochs: int = 2, validation: float = 0.0, **settings: Any) -> Progress:
    progress = Progress()
    pipeline, module = run_of(tiny_config(), frames_of(4), min_steps=4)
    trainer_of(
        folder,
        max_epochs=epochs,
        callbacks=[progress, Slow(validation)],
        enable_progress_bar=True,
        **settings,
    ).fit(pipeline, datamodule=module)
    return progress


def test_one_line_for_each_epoch_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    progress = run(tmp_path, epochs=3)
    assert not progress.is_terminal
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == 3
    for number, line in enumerate(lines, start=1):
        assert re.fullmatch(rf"epoch {number}/3: loss \d+\.\d{{4}}, error \d+\.\d\d px, \d+\.\d images/s", line), line


@pytest.mark.parametrize(("error", "text"), [(float("nan"), "– (no animal found)"), (3.456, "3.46 px")])
def test_an_epoch_in_which_no_animal_is_found_says_so(error: float, text: str) -> None:
    shown = {"train/loss": torch.tensor(0.5), "val/mean_error_px": torch.tensor(error)}
    items = Progress().get_metrics(SimpleNamespace(callback_metrics=shown), None)  # type: ignore[arg-type]
    assert items["error"] == text


def test_images_are_counted_from_the_second_batch_of_each_epoch(tmp_path: Path) -> None:
    progress = run(tmp_path)
    assert progress.total_images == 2 * 3 * 2  # epochs, batches but one, images in each
    assert 0 < progress.images_per_s <= 2 / PAUSE


@pytest.mark.parametrize("settings", [{"val_check_interval": 2}, {"check_val_every_n_epoch": 2}])
def test_validation_within_or_beside_the_epochs_does_not_count(tmp_path: Path, settings: dict[str, Any]) -> None:
    validation = 0.2
    began = time.perf_counter()
    progress = run(tmp_path, validation=validation, **settings)
    took = time.perf_counter() - began
    assert progress.total_images == 12
    count = 4 if "val_check_interval" in settings else 1
    assert 6 * PAUSE <= progress.seconds <= took - count * validation


def test_an_epoch_of_one_batch_has_no_rate(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    progress = Progress()
    pipeline, module = run_of(tiny_config(), frames_of(2))
    trainer_of(tmp_path, callbacks=[progress], enable_progress_bar=True).fit(pipeline, datamodule=module)
    assert np.isnan(progress.images_per_s)
    assert "images/s" not in capsys.readouterr().out
    assert progress.get_metrics(progress.trainer, progress.trainer.lightning_module)["images/s"] == "–"


def test_the_bar_ends_with_rate_and_error(tmp_path: Path) -> None:
    progress = run(tmp_path, epochs=1)
    shown = progress.get_metrics(progress.trainer, progress.trainer.lightning_module)
    assert set(shown) == {"loss", "images/s", "error"}
    assert shown["error"].endswith(" px")
    assert float(shown["images/s"]) > 0
