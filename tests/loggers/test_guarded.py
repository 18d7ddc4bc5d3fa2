"""Whatever a tracker raises, and wherever: it is told once, and the tracker is not asked again."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytorch_lightning.loggers import Logger

from dlcpose.loggers.base import ExperimentTracker
from dlcpose.loggers.guarded import GuardedLogger
from dlcpose.structures.errors import ConfigError

FACTS = {"config": {"seed": 0}}


class Recorder(ExperimentTracker, Logger):
    """Writes down what it is asked for, and raises on the call that it is told to."""

    def __init__(self, fails_at: int = 10**9, error: Exception | None = None) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.fails_at, self.error = fails_at, error or ConnectionError("the server\nis gone")

    def called(self, name: str) -> str:
        self.calls.append(name)
        if len(self.calls) > self.fails_at:
            raise self.error
        return name

    def begin(self, facts: Any) -> None:
        self.called("begin")

    def show(self, name: str, picture: Any, step: int) -> None:
        self.called("show")

    def end(self, facts: Any, figures: Any, run_dir: Path) -> None:
        self.called("end")

    def close(self, succeeded: bool) -> None:
        self.called("close")

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.called("log_metrics")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.called("log_hyperparams")

    def save(self) -> None:
        self.called("save")

    def finalize(self, status: str) -> None:
        self.called("finalize")

    @property
    def name(self) -> str:
        return self.called("name")

    @property
    def version(self) -> str:
        return self.called("version")

    @property
    def experiment(self) -> str:
        return self.called("experiment")


CALLS: dict[str, Any] = {
    "show": lambda guarded: guarded.show("val/predictions", np.zeros((2, 2, 3), np.uint8), 3),
    "end": lambda guarded: guarded.end(FACTS, {"test/error": 1.0}, Path()),
    "close": lambda guarded: guarded.close(True),
    "log_metrics": lambda guarded: guarded.log_metrics({"loss": 1.0}, 3),
    "log_hyperparams": lambda guarded: guarded.log_hyperparams({}),
    "save": lambda guarded: guarded.save(),
    "finalize": lambda guarded: guarded.finalize("success"),
    "name": lambda guarded: guarded.name,
    "version": lambda guarded: guarded.version,
    "experiment": lambda guarded: guarded.experiment,
}


def test_everything_is_handed_on() -> None:
    inner = Recorder()
    guarded = GuardedLogger("mine", inner)
    guarded.begin(FACTS)
    answers = [call(guarded) for call in CALLS.values()]
    assert inner.calls == ["begin", *CALLS]
    assert answers[-3:] == ["name", "version", "experiment"]


@pytest.mark.parametrize("failing", CALLS)
def test_failure_is_logged_once_and_the_tracker_is_dropped(failing: str, caplog: pytest.LogCaptureFixture) -> None:
    inner = Recorder(fails_at=0)
    guarded = GuardedLogger("mine", inner)
    with caplog.at_level(logging.WARNING):
        CALLS[failing](guarded)
        for call in CALLS.values():
            call(guarded)
        guarded.experiment.log_anything("at", all=True)
    assert inner.calls == [failing]
    (record,) = caplog.records
    assert record.message.startswith(
        "logger.mine failed (ConnectionError: the server is gone). The run goes on without"
    )


def test_one_that_cannot_begin_is_a_mistake_of_the_config() -> None:
    with pytest.raises(ConfigError, match=r"logger\.mine: cannot begin \(ConnectionError: the server is gone\)"):
        GuardedLogger("mine", Recorder(fails_at=0)).begin(FACTS)


def test_to_be_stopped_is_no_failure() -> None:
    guarded = GuardedLogger("mine", Recorder(fails_at=0, error=KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        guarded.log_metrics({})
