"""A run that is told to stop, at any hook, ends saved and goes on to the very tables of one that was not."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import LearningRateMonitor

from dlcpose.callbacks.best import BestCheckpoint
from dlcpose.callbacks.preemption import LastCheckpoint, PreemptionCheckpoint, restored_signals
from dlcpose.callbacks.reseed import ReseedEachBatch
from dlcpose.loggers.csv_logger import ContinuedCSVLogger
from dlcpose.runs.checkpoint_io import WholeFiles
from tests.made_up_runs import frames_of, run_of, tiny_config, trainer_of

DATA = frames_of(8)
EPOCHS, STEPS = 3, 2  # four frames to train on, two a batch
HOOKS = (
    *("on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end", "on_validation_start"),
    *("on_validation_batch_end", "on_validation_end", "on_train_epoch_end"),
)


class Tells(Callback):
    """Sends this process a signal when a hook is called for the count-th time."""

    def __init__(self, hook: str, count: int, number: int) -> None:
        def called(*_: Any, **__: Any) -> None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), number)

        self.left = count
        setattr(self, hook, called)


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """A script's background has Ctrl-C ignored, and a run leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def attempt(folder: Path, tells: Callback | None = None, *, is_last: bool = False) -> int:
    """Begin a run in a folder or go on with it; returns the exit code it would end with."""
    pipeline, module = run_of(tiny_config(), DATA)
    own = [LearningRateMonitor("epoch"), BestCheckpoint(folder, monitor="val/loss", mode="min"), LastCheckpoint(folder)]
    own = [*own, tells] if is_last and tells else [tells, *own] if tells else own
    trainer = trainer_of(
        folder, max_epochs=EPOCHS, logger=ContinuedCSVLogger(folder), enable_checkpointing=True,
        callbacks=[ReseedEachBatch(0), *own, PreemptionCheckpoint(folder)], plugins=[WholeFiles(folder / "checkpoints")],
        log_every_n_steps=1,
    )  # fmt: skip
    last = folder / "checkpoints" / "last.ckpt"
    try:
        with restored_signals():
            trainer.fit(pipeline, datamodule=module, ckpt_path=last if last.exists() else None, weights_only=True)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def table(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("straight")
    assert attempt(folder) == 0
    assert len(table(folder)) > EPOCHS
    return table(folder)


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS)
def test_run_stopped_at_any_hook_resumes_to_the_same_metrics(hook: str, tmp_path: Path, straight: list[str]) -> None:
    for is_last in (False, True):
        folder = tmp_path / str(is_last)
        code = attempt(folder, Tells(hook, 2 if hook != "on_train_start" else 1, signal.SIGTERM), is_last=is_last)
        assert code == 128 + signal.SIGTERM
        assert attempt(folder) == 0
        assert table(folder) == straight


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_run_stopped_five_times_at_random_resumes(seed: int, tmp_path: Path, straight: list[str]) -> None:
    rng = random.Random(seed)
    for _ in range(5):
        tells = Tells(rng.choice(HOOKS), rng.randint(1, 2), rng.choice((signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)))
        assert attempt(tmp_path, tells, is_last=rng.random() < 0.5) in (
            0,
            130,
            128 + signal.SIGTERM,
            128 + signal.SIGUSR1,
        )
    assert attempt(tmp_path) == 0
    assert table(tmp_path) == straight


def test_run_stopped_twice_between_epochs_and_then_within_one_resumes_there(
    tmp_path: Path, straight: list[str]
) -> None:
    for hook in ("on_validation_end", "on_validation_end", "on_train_batch_start"):
        assert attempt(tmp_path, Tells(hook, 1, signal.SIGTERM)) == 128 + signal.SIGTERM
    assert attempt(tmp_path) == 0
    assert table(tmp_path) == straight


def test_run_stopped_during_validation_is_saved_first(tmp_path: Path, straight: list[str]) -> None:
    assert attempt(tmp_path, Tells("on_validation_start", 1, signal.SIGTERM)) == 128 + signal.SIGTERM
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert attempt(tmp_path) == 0
    assert table(tmp_path) == straight


def test_the_end_of_the_terminal_saves_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda number: False)  # that of the tests goes on
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert attempt(tmp_path, Tells("on_train_batch_start", 1, signal.SIGHUP)) == 128 + signal.SIGHUP
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_what_is_written_to_a_terminal_that_is_gone_ends_no_run(tmp_path: Path) -> None:
    callback = PreemptionCheckpoint(tmp_path)
    screen, terminal = os.openpty()
    callback.terminals = [terminal]
    callback._receive(signal.SIGHUP, None)
    os.close(screen)
    assert os.write(terminal, b"epoch 3") == 7
    os.close(terminal)


def test_ctrl_c_saves_the_run_and_prints_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert attempt(tmp_path, Tells("on_train_batch_start", 1, signal.SIGINT)) == 130
    said = capsys.readouterr().err
    assert "stopping as soon as" in said
    assert f"stopped by SIGINT, saved {tmp_path / 'checkpoints' / 'last.ckpt'}" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_ignored_stays_ignored(number: int, tmp_path: Path, straight: list[str]) -> None:
    """In the background of a script (`dlcpose-train &`) Ctrl-C is for the script, and the shell has it ignored."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert attempt(tmp_path, Tells("on_train_batch_start", 1, number)) == 0
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert table(tmp_path) == straight
