"""Guard a run against failures of its trackers."""

import logging
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyLogger
from torch import Tensor, nn

from dlcpose.loggers.base import ExperimentTracker
from dlcpose.structures.errors import ConfigError, DlcposeError
from dlcpose.structures.sample import Image

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class GuardedLogger(ExperimentTracker, Logger):
    """Forwards all calls to another logger until one raises; then warns once and drops all further calls.

    called: the logger's name in the config. Raises ConfigError, in `begin`, where the logger cannot begin.
    """

    def __init__(self, called: str, inner: Logger) -> None:
        super().__init__()
        self.called, self.inner, self.is_dropped = called, inner, False

    def start_at(self, step: int) -> None:
        if isinstance(self.inner, ExperimentTracker):
            self.inner.start_at(step)

    def begin(self, facts: Mapping[str, Any]) -> None:
        with beginning(self.called):
            if isinstance(self.inner, ExperimentTracker):
                self.inner.begin(facts)
            else:
                self.inner.log_hyperparams(dict(facts))

    def show(self, name: str, picture: Image, step: int) -> None:
        inner = self.inner
        if isinstance(inner, ExperimentTracker):
            self._try(lambda: inner.show(name, picture, step), None)

    def end(self, facts: Mapping[str, Any], figures: Mapping[str, float], run_dir: Path) -> None:
        inner = self.inner
        if isinstance(inner, ExperimentTracker):
            self._try(lambda: inner.end(facts, figures, run_dir), None)
        else:
            self._try(lambda: inner.log_metrics(dict(figures)), None)

    def close(self, succeeded: bool) -> None:
        inner = self.inner
        if isinstance(inner, ExperimentTracker):
            self._try(lambda: inner.close(succeeded), None)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._try(lambda: self.inner.log_metrics(metrics, step), None)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        self._try(lambda: self.inner.log_hyperparams(params, *args, **kwargs), None)

    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        self._try(lambda: self.inner.log_graph(model, input_array), None)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        self._try(lambda: self.inner.after_save_checkpoint(checkpoint_callback), None)

    def save(self) -> None:
        self._try(self.inner.save, None)

    def finalize(self, status: str) -> None:
        self._try(lambda: self.inner.finalize(status), None)

    @property
    def experiment(self) -> Any:
        """The other logger's experiment."""
        nothing = DummyLogger().experiment
        return self._try(lambda: getattr(self.inner, "experiment", nothing), nothing)

    @property
    def name(self) -> str | None:
        return self._try(lambda: self.inner.name, None)

    @property
    def version(self) -> int | str | None:
        return self._try(lambda: self.inner.version, None)

    @property
    def save_dir(self) -> str | None:
        return self._try(lambda: self.inner.save_dir, None)

    def _try(self, call: Callable[[], Result], otherwise: Result) -> Result:
        if self.is_dropped:
            return otherwise
        try:
            return call()
        except Exception as error:  # a lost server, a full disk, a bug in a library: none may end the run
            self.is_dropped = True
            logger.warning(
                "logger.%s failed (%s). The run goes on without it; what it has recorded until now is kept.",
                self.called,
                _in_one_line(error),
            )
            return otherwise


@contextmanager
def beginning(called: str) -> Iterator[None]:
    """A block that builds a logger of a config or begins with it: whatever its library raises there is a ConfigError."""
    try:
        yield
    except DlcposeError:
        raise
    except Exception as error:
        raise ConfigError(
            f"logger.{called}: cannot begin ({_in_one_line(error)}). See docs/experiment_trackers.md, or leave it out."
        ) from error


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
