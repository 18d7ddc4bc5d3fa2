"""The checkpoint that a killed run resumes from, and how a run saves itself when it is preempted."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from dlcpose.callbacks.best import FOLDER
from dlcpose.callbacks.requeue import requeue
from dlcpose.structures.atomic_files import leftovers
from dlcpose.structures.errors import CheckpointError
from dlcpose.structures.interrupts import leave, terminals

# SLURM's pre-emption, Ctrl-C, and the end of the terminal (a lost ssh session).
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def restored_signals() -> Iterator[None]:
    """Within it signal handlers may be replaced; those from before are restored at its end."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class LastCheckpoint(Callback):
    """Saves a run after every epoch, in one file.

    An epoch counts as done once all its values have been logged: a run killed a moment before repeats it, and its
    tables end as if it had not been killed. It is no ModelCheckpoint, which saves before. run_dir: of the run, whose
    checkpoints/last.ckpt it is.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.path, self.saved_step = _last_of(run_dir), 0
        self.between_epochs = False  # whether the checkpoint is saved, or was saved, between two epochs

    def state_dict(self) -> dict[str, bool]:
        return {"between_epochs": self.between_epochs}

    def load_state_dict(self, state_dict: dict[str, bool]) -> None:
        if type(state_dict.get("between_epochs")) is not bool:
            raise CheckpointError(
                f"callbacks.last: expected between_epochs in the checkpoint, got {state_dict!s:.100}."
            )
        self.between_epochs = state_dict["between_epochs"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            for name in ("best.ckpt", "last.ckpt"):
                for partial in leftovers(self.path.with_name(name)):  # a run was killed as it wrote
                    partial.unlink()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved_step = trainer.global_step
        if self.between_epochs:
            # Lightning would look for what is left of the epoch before, and find that its batches are all done.
            trainer.fit_loop.restarting = False
            self.between_epochs = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with _before_next_epoch(trainer):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if trainer.global_step != self.saved_step and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.between_epochs = True
            trainer.save_checkpoint(self.path)
            self.saved_step, self.between_epochs = trainer.global_step, False


@contextmanager
def _before_next_epoch(trainer: Trainer) -> Iterator[None]:
    """Within it Lightning's counters are those of a run whose next epoch has not begun.

    Of an epoch that has begun and then begins again it counts one more, after which a run that was resumed twice between
    epochs, and then within one, took the middle of that epoch for its start, and logged the learning rate once more.
    """
    progress = trainer.fit_loop.epoch_progress
    for counts in (progress.total, progress.current):
        counts.ready -= 1
    try:
        yield
    finally:
        for counts in (progress.total, progress.current):
            counts.ready += 1


class PreemptionCheckpoint(Checkpoint):
    """Saves a run and ends it at SIGTERM, SIGUSR1, SIGHUP or Ctrl-C; resumed, it continues within its epoch.

    A signal that is ignored stays so: in the background of a script Ctrl-C is the script's, and `nohup` ignores SIGHUP.
    After SIGUSR1, which SLURM sends before time runs out (`--signal=USR1@120`), the job is queued again. Ctrl-C a second
    time ends it at once, with what was saved before.
    run_dir: of the run. A Checkpoint so that Lightning calls it last, when averages have taken in the step.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.path = _last_of(run_dir)
        self.resumed_by = "resume=last"  # what the message says to go on with
        self.received: int | None = None  # the signal
        self.ignored: list[int] = []  # the signals that were ignored before the run
        self.terminals: list[int] = []  # the outputs that a terminal shows

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.received = None
        self.ignored = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
        self.terminals = terminals()
        self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # In place of Lightning's handlers, which it sets after on_fit_start: they end the run after a validation without
        # saving it, and exchange messages between devices in the midst of a step.
        if trainer.received_sigterm:
            self.received = signal.SIGTERM
            trainer._signal_connector.received_sigterm = False
        self._listen()

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN if number in self.ignored else self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            if self.received == signal.SIGINT:
                raise KeyboardInterrupt
            print(
                "\ndlcpose: stopping as soon as the run can be saved; Ctrl-C again stops it at once.",
                file=sys.stderr,
                flush=True,
            )
        if number == getattr(signal, "SIGHUP", None):
            leave(self.terminals)
        self.received = number

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_preempted(trainer):  # LastCheckpoint has just saved it
            self._stop(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        is_whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        # After an epoch's last batch it is saved in a moment anyway, when it has been validated.
        if is_whole_step and not trainer.is_last_batch and self._is_preempted(trainer):
            trainer.save_checkpoint(self.path)
            self._stop(trainer)

    def _is_preempted(self, trainer: Trainer) -> bool:
        """Whether any process was preempted: all of them stop after the same step."""
        is_preempted = self.received is not None
        return (
            trainer.strategy.reduce_boolean_decision(is_preempted, all=False)
            if trainer.world_size > 1
            else is_preempted
        )

    def _stop(self, trainer: Trainer) -> None:
        number = signal.Signals(self.received or signal.SIGTERM)
        if trainer.is_global_zero:
            saved = (
                f"saved {self.path}. Go on with {self.resumed_by}" if trainer.global_step else "before its first step"
            )
            print(f"dlcpose: stopped by {number.name}, {saved}.", file=sys.stderr, flush=True)
            if number == getattr(signal, "SIGUSR1", None) and "SLURM_JOB_ID" in os.environ:
                requeue()
        raise SystemExit(128 + number)


def _last_of(run_dir: str | Path) -> Path:
    return Path(run_dir) / FOLDER / "last.ckpt"
