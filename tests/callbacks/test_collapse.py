"""A tiny real run whose figure is dictated: the watch must go back once, then end it, and stay quiet otherwise."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dlcpose.callbacks.collapse import CollapseWatch
from tests.made_up_runs import trainer_of

NAN, INF = math.nan, math.inf


class Dictated(lightning.LightningModule):
    """Its weight counts the training steps; its figure is what the test says."""

    def __init__(self, figures: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.figures = figures
        self.weights_at_start: list[float] = []

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        return -self.weight

    def validation_step(self, batch: Any, batch_index: int) -> None:
        self.log("val/error", torch.tensor(self.figures[self.current_epoch]))

    def on_train_epoch_start(self) -> None:
        self.weights_at_start.append(self.weight.item())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0, momentum=1e-9)


def run(
    folder: Path,
    figures: Sequence[float],
    *,
    monitor: str = "val/error",
    mode: str = "min",
    checkpoints: bool = True,
    **settings: Any,
) -> tuple[Dictated, CollapseWatch, lightning.Trainer]:
    watch = CollapseWatch(monitor=monitor, mode=mode, **settings)
    model = Dictated(figures)
    callbacks: list[lightning.Callback] = [watch]
    if checkpoints:
        callbacks.append(
            ModelCheckpoint(folder, filename="best", monitor="val/error", mode=mode, enable_version_counter=False)
        )
    trainer = trainer_of(
        folder, max_epochs=len(figures), callbacks=callbacks, enable_checkpointing=checkpoints, log_every_n_steps=1
    )
    loader = DataLoader([0.0], batch_size=1)
    trainer.fit(model, loader, loader)
    return model, watch, trainer


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "dlcpose.callbacks.collapse"]


@pytest.mark.parametrize("bad", [60.0, INF])
def test_a_collapsed_run_goes_back_to_its_best_weights_and_then_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: float
) -> None:
    figures = [20.0, 10.0, 12.0, bad, bad, 15.0, bad, bad, 3.0, 3.0]
    with caplog.at_level(logging.WARNING):
        model, watch, trainer = run(tmp_path, figures, patience=2)
    # The best epoch was the second: its weights held 2 steps. After two collapsed validations they are back.
    assert model.weights_at_start == [0, 1, 2, 3, 4, 2, 3, 4]
    assert trainer.current_epoch == 8
    assert watch.rolled_back == 1
    first, second = warnings_of(caplog)
    assert "5 times worse than its best of 10 for 2 validations" in first
    assert "goes back to the weights of its best epoch" in first
    assert "It ends here" in second


def test_a_healthy_run_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model, watch, _ = run(tmp_path, [90.0, 40.0, NAN, 20.0, 99.0, 10.0, 49.0, 9.0], patience=2)
    assert model.weights_at_start == list(range(8))
    assert (watch.best, watch.rolled_back) == (9.0, 0)
    assert not warnings_of(caplog)


def test_run_without_detections_is_not_a_collapse(tmp_path: Path) -> None:
    model, _, _ = run(tmp_path, [NAN, NAN, INF, NAN], patience=1)
    assert len(model.weights_at_start) == 4


@pytest.mark.parametrize(
    ("mode", "figures"),
    [
        ("min", [NAN, NAN, 4.0, NAN, 21.0, NAN]),  # few keypoints are matched in the first epochs, and by chance well
        ("max", [0.0, 0.02, 0.0, 0.0, 0.0, 0.05, 0.001, 0.0]),
        ("max", [0.0, 0.3, 0.07, NAN, 0.065, 0.4, 0.5]),
        ("min", [-1.0, -0.5, -0.9, -0.6, -2.0, -0.5]),  # a loss may be below 0
    ],
)
def test_the_first_epochs_of_a_model_of_several_animals_are_no_collapse(
    tmp_path: Path, mode: str, figures: list[float]
) -> None:
    model, watch, _ = run(tmp_path, figures, mode=mode, patience=2)
    assert model.weights_at_start == list(range(len(figures)))
    assert watch.rolled_back == 0


def test_a_collapsed_figure_that_is_better_when_higher(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model, watch, _ = run(tmp_path, [0.1, 0.5, 0.05, NAN, 0.0, 0.4], mode="max", patience=2)
    assert model.weights_at_start == [0, 1, 2, 3, 4, 2]
    assert (watch.best, watch.rolled_back) == (0.5, 1)
    assert "5 times worse than its best of 0.5 for 2 validations (now 0)" in warnings_of(caplog)[0]


def test_values_of_another_figure_are_forgotten() -> None:
    before = CollapseWatch(monitor="val/error", mode="min")
    before.best = 4.0
    resumed = CollapseWatch(monitor="val/oks_ap", mode="max")
    resumed.load_state_dict(before.state_dict())
    assert resumed.best == -INF


def test_number_of_rollbacks_is_limited(tmp_path: Path) -> None:
    model, _, _ = run(tmp_path, [1.0, 60.0, 60.0, 60.0, 60.0], patience=1, roll_back=2)
    assert model.weights_at_start == [0, 1, 1, 1]
    model, _, _ = run(tmp_path, [1.0, 60.0, 60.0], patience=1, roll_back=0)
    assert model.weights_at_start == [0, 1]


def test_without_a_checkpoint_to_go_back_to_it_ends(tmp_path: Path) -> None:
    model, _, _ = run(tmp_path, [1.0, 60.0, 60.0, 1.0], patience=2, checkpoints=False)
    assert len(model.weights_at_start) == 3


def test_unlogged_figure_is_ignored(tmp_path: Path) -> None:
    model, _, _ = run(tmp_path, [1.0, 60.0, 60.0], patience=1, monitor="val/other")
    assert len(model.weights_at_start) == 3


def test_moments_do_not_lead_there_again(tmp_path: Path) -> None:
    watch = CollapseWatch(monitor="val/error", mode="min", patience=1)
    seen: list[int] = []

    class After(lightning.Callback):
        def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            seen.append(len(trainer.optimizers[0].state))

    best = ModelCheckpoint(tmp_path, filename="best", monitor="val/error", mode="min")
    trainer = trainer_of(tmp_path, max_epochs=3, callbacks=[watch, After(), best], enable_checkpointing=True)
    loader = DataLoader([0.0], batch_size=1)
    trainer.fit(Dictated([1.0, 60.0, 1.0]), loader, loader)
    assert seen == [1, 0, 1]


def test_what_it_has_seen_survives_a_checkpoint(tmp_path: Path) -> None:
    _, watch, trainer = run(tmp_path, [10.0, 60.0, 60.0, 60.0], patience=3)
    assert (watch.best, watch.rolled_back) == (10.0, 1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = CollapseWatch(monitor="val/error", mode="min", patience=3)
    loader = DataLoader([0.0], batch_size=1)
    again = trainer_of(tmp_path, max_epochs=9, callbacks=[resumed])
    again.fit(Dictated([60.0] * 9), loader, loader, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert (resumed.best, resumed.rolled_back) == (10.0, 1)
    assert again.current_epoch == 7  # three more validations, and no way back any more
