"""The best epoch stays the best where a run goes on, and what a stranger's state says of paths is not believed."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from dlcpose.callbacks.best import BestCheckpoint, best_of_run
from dlcpose.callbacks.collapse import CollapseWatch
from dlcpose.callbacks.preemption import LastCheckpoint
from dlcpose.callbacks.trial_pruning import TrialPruning
from dlcpose.structures.errors import CheckpointError
from tests.made_up_runs import trainer_of


class Dictated(lightning.LightningModule):
    """Its figure is what it is told, epoch by epoch."""

    def __init__(self, figures: list[float]) -> None:
        super().__init__()
        self.layer, self.figures = torch.nn.Linear(1, 1), figures

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.layer(batch).sum()

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.log("val/error", self.figures[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(folder: Path, figures: list[float], resume: Path | None = None, **until: int) -> BestCheckpoint:
    best = BestCheckpoint(folder, monitor="val/error", mode="min")
    callbacks = [best, LastCheckpoint(folder)]
    settings = {"max_epochs": len(figures), **until}
    trainer = trainer_of(folder, callbacks=callbacks, enable_checkpointing=True, **settings)
    loader = torch.utils.data.DataLoader(torch.ones(2, 1))
    trainer.fit(Dictated(figures), loader, loader, ckpt_path=resume, weights_only=True)
    return best


def epoch_of(folder: Path) -> int:
    epoch: int = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["epoch"]
    return epoch


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize(("next_figure", "expected"), [(21.0, 1), (0.5, 3)])
def test_a_run_that_was_moved_keeps_its_best_epoch(
    tmp_path: Path, moved: bool, next_figure: float, expected: int
) -> None:
    folder, figures = tmp_path / "run", [1.5, 1.0, 1.1]
    fitted(folder, figures)
    assert epoch_of(folder) == 1
    if moved:
        folder = folder.rename(tmp_path / "elsewhere")
    best = fitted(folder, [*figures, next_figure], folder / "checkpoints" / "last.ckpt")
    assert epoch_of(folder) == expected
    assert best.best_model_path == str(folder / "checkpoints" / "best.ckpt")
    assert float(best.best_model_score) == pytest.approx(min(*figures, next_figure))
    assert [path.name for path in (folder / "checkpoints").iterdir() if "best" in path.name] == ["best.ckpt"]
    assert not moved or not (tmp_path / "run").exists()


LONG = [5.0, 3.9, *(5.0,) * 6, 4.0, 4.5]  # the closing epochs of ten are the last two


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (LONG, 8),
        ([*LONG[:8], 4.5, 4.0], 9),
        ([*LONG[:8], float("nan"), 4.5], 9),
        ([*LONG[:8], 6.0, 6.0], 1),  # much worse
        ([*LONG[:8], 6.0, 4.5], 9),
        (LONG[:3], 1),  # so few epochs have no closing ones
    ],
)
def test_the_best_epoch_is_one_of_the_closing_ones(tmp_path: Path, figures: list[float], expected: int) -> None:
    best = fitted(tmp_path, figures)
    assert epoch_of(tmp_path) == best.best_epoch == expected
    assert float(best.best_model_score) == pytest.approx(figures[expected])


@pytest.mark.parametrize(
    "until", [{"max_epochs": 27}, {"max_epochs": -1}, {"max_epochs": 10, "max_steps": 1000}], ids=str
)
def test_a_run_of_so_many_steps_has_closing_epochs_too(tmp_path: Path, until: dict[str, int]) -> None:
    best = fitted(tmp_path, LONG, **{"max_steps": 2 * len(LONG), **until})  # two steps an epoch
    assert epoch_of(tmp_path) == best.best_epoch == 8


@pytest.mark.parametrize(("next_figure", "expected"), [(2.0, 2), (float("nan"), 2)])
def test_a_run_without_a_value_so_far_is_resumed(tmp_path: Path, next_figure: float, expected: int) -> None:
    nothing = [float("nan")] * 2
    fitted(tmp_path, nothing)
    assert epoch_of(tmp_path) == 0
    best = fitted(tmp_path, [*nothing, next_figure], tmp_path / "checkpoints" / "last.ckpt")
    assert epoch_of(tmp_path) == best.best_epoch == expected


@pytest.mark.parametrize("stopped_after", [2, 8, 9])
def test_a_run_that_was_stopped_keeps_the_epoch_of_a_straight_one(tmp_path: Path, stopped_after: int) -> None:
    stopped = BestCheckpoint(tmp_path, monitor="val/error", mode="min")
    callbacks = [stopped, LastCheckpoint(tmp_path), StopAfter(stopped_after)]
    trainer = trainer_of(tmp_path, max_epochs=len(LONG), callbacks=callbacks, enable_checkpointing=True)
    loader = torch.utils.data.DataLoader(torch.ones(2, 1))
    trainer.fit(Dictated(LONG), loader, loader)
    assert epoch_of(tmp_path) == (8 if stopped_after == 9 else 1)
    best = fitted(tmp_path, LONG, tmp_path / "checkpoints" / "last.ckpt")
    assert epoch_of(tmp_path) == 8
    assert float(best.best_model_score) == 4.0


class StopAfter(lightning.Callback):
    """Ends a run after so many epochs of those that it would have had."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


@pytest.mark.parametrize("scheme", ["", "local://", "file://"])
def test_paths_of_a_strangers_state_are_not_believed(tmp_path: Path, scheme: str) -> None:
    folder, victim = tmp_path / "run", tmp_path / "victim"
    fitted(folder, [1.5, 1.0])
    victim.mkdir()
    (victim / "thesis.tex").write_text("mine")
    last = folder / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    (key,) = [key for key in content["callbacks"] if "BestCheckpoint" in key]
    path = f"{scheme}{victim}"
    content["callbacks"][key] |= {
        **{"best_model_path": path, "kth_best_model_path": path, "last_model_path": path, "dirpath": str(victim)},
        "best_k_models": {path: torch.tensor(1.0)},
    }
    torch.save(content, last)
    best = fitted(folder, [1.5, 1.0, 0.5], last)
    assert (victim / "thesis.tex").read_text() == "mine"
    assert [path.name for path in victim.iterdir()] == ["thesis.tex"]
    assert {best.best_model_path, best.kth_best_model_path, *best.best_k_models} == {
        str(folder / "checkpoints" / "best.ckpt")
    }
    assert epoch_of(folder) == 2


def test_a_value_without_its_checkpoint_is_none(tmp_path: Path) -> None:
    best = BestCheckpoint(tmp_path, monitor="val/error", mode="min")
    best.load_state_dict({"best_model_score": torch.tensor(0.1)})
    assert best.best_model_score is None
    assert best.best_model_path == ""


@pytest.mark.parametrize("score", ["text", torch.zeros(3), [1.0], {"a": 1}])
def test_a_value_that_is_no_number_is_refused(tmp_path: Path, score: Any) -> None:
    with pytest.raises(CheckpointError, match="best_model_score"):
        BestCheckpoint(tmp_path, monitor="val/error", mode="min").load_state_dict({"best_model_score": score})


def test_states_of_ours_are_numbers(tmp_path: Path) -> None:
    watch = CollapseWatch(monitor="val/error", mode="min")
    for callback, state in (
        (watch, {"best": "low", "collapsed": 0, "rolled_back": 0}),
        (watch, {"best": 1.0, "collapsed": -1, "rolled_back": 0}),
        (watch, {}),
        (LastCheckpoint(tmp_path), {"between_epochs": "yes"}),
        (LastCheckpoint(tmp_path), {}),
        (TrialPruning(monitor="a", storage=None, study=None, trial=None), {"stopped": "a"}),
    ):
        with pytest.raises(CheckpointError):
            callback.load_state_dict(state)


def test_only_a_checkpoint_of_the_runs_own_folder_is_read(tmp_path: Path) -> None:
    for name in ("run", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.ckpt").touch()
    (tmp_path / "run" / "link.ckpt").symlink_to(tmp_path / "other" / "best.ckpt")
    saving = ModelCheckpoint(tmp_path / "run", monitor="a")
    trainer = trainer_of(tmp_path / "run", callbacks=[saving], enable_checkpointing=True)
    for path, expected in (("other/best.ckpt", None), ("run/link.ckpt", None), ("run/best.ckpt", "run/best.ckpt")):
        saving.best_model_path = str(tmp_path / path)
        assert best_of_run(trainer) == (expected and tmp_path / expected)


def test_only_what_this_callback_left_half_written_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in (".last.7.ab.partial.ckpt", ".best.7.cd.partial.ckpt", "thesis.partial", ".thesis.7.ef.partial.ckpt"):
        (folder / name).touch()
    LastCheckpoint(tmp_path).on_fit_start(trainer_of(tmp_path), Dictated([]))
    assert {path.name for path in folder.iterdir()} == {"thesis.partial", ".thesis.7.ef.partial.ckpt"}
