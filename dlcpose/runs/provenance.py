"""Provenance of a run (split, command, environment, git revision), in its folder and in the chosen trackers."""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.structures.atomic_files import write_atomic
from dlcpose.structures.counted import counted

if TYPE_CHECKING:
    from pytorch_lightning import Trainer
    from pytorch_lightning.loggers import Logger

    from dlcpose.checkpoint import Description

# The overrides of a Python call, where there is no shell.
OVERRIDES: ContextVar[tuple[str, ...]] = ContextVar("OVERRIDES", default=())


def record_run(run_dir: Path, description: "Description", batch_size: int) -> dict[str, Any]:
    """Write a run's split, command and environment into its folder; returns the record for trackers.

    batch_size: frames of a step on each device, which the config may leave to the device.
    """
    from pytorch_lightning.utilities import rank_zero_only

    facts = {**environment(), "batch": f"{counted(batch_size, 'frame')} on each device"}
    if getattr(rank_zero_only, "rank", 0) == 0:  # set by Lightning
        write_atomic(run_dir / "split.json", json.dumps(description.split.as_dict(), indent=1))
        write_atomic(run_dir / "environment.txt", "".join(f"{name}: {value}\n" for name, value in facts.items()))
    return {
        "config": dict(description.config),
        "overrides": overrides(),
        "git": facts["git"],
        "environment": facts,
    }


def environment() -> dict[str, str]:
    """Command, git revision, machine, and the packages that computations depend on."""
    from dlcpose.structures.versions import versions

    machine = f"{platform.platform()}, {platform.processor() or platform.machine()}"
    return {"command": shlex.join(sys.argv), "git": git_revision(), "machine": machine, **versions()}


def overrides() -> list[str]:
    """The overrides given by the shell, a sweep or a program."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else list(OVERRIDES.get())


def git_revision() -> str:
    """The git revision of this code, and whether it has uncommitted changes; empty outside a checkout."""
    folder = Path(__file__).parents[2]
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False
        ).stdout.strip()
    except OSError:
        return ""


def tracked_as(config: Mapping[str, Any]) -> tuple[str, str | None]:
    """The name that trackers show a run by, and the sweep that it is a job of; None where it is none.

    All jobs of a sweep have the same `name`: what differs is their folders, which name their values.
    """
    sweep = config["sweep"]["name"]
    _, found, job = Path(config["run_dir"]).as_posix().rpartition(f"/{sweep}/")
    return (job, sweep) if sweep is not None and found else (config["name"], None)


def guarded(loggers: "Mapping[str, Logger]") -> "list[Logger]":
    """The loggers of a config: a tracker's failure must not end a run, but metrics.csv is a part of its results."""
    from dlcpose.loggers.csv_logger import ContinuedCSVLogger
    from dlcpose.loggers.guarded import GuardedLogger

    return [
        logger if isinstance(logger, ContinuedCSVLogger) else GuardedLogger(name, logger)
        for name, logger in loggers.items()
    ]


def begin_tracking(trainer: "Trainer", facts: Mapping[str, Any], resumed: Path | None = None) -> None:
    """Pass the run's record and its first step to every tracker. Raises ConfigError where one cannot be started.

    resumed: the checkpoint that it resumes from.
    """
    from dlcpose.loggers.base import ExperimentTracker

    trackers = [logger for logger in trainer.loggers if isinstance(logger, ExperimentTracker)]
    step = _step_of(resumed) if trackers and resumed is not None else 0
    for tracker in trackers:
        tracker.start_at(step)
        tracker.begin(facts)


def _step_of(checkpoint: Path) -> int:
    """How many steps a run had made when a checkpoint was written."""
    from dlcpose.structures.checkpoint_file import read_checkpoint_file
    from dlcpose.structures.errors import CheckpointError

    step = read_checkpoint_file(checkpoint, memory_map=True).get("global_step")
    if type(step) is not int or step < 0:
        raise CheckpointError(
            f"{checkpoint}: expected a global_step from 0, got {step!r:.80}. Give last.ckpt of a run."
        )
    return step


def end_tracking(
    trainer: "Trainer", facts: Mapping[str, Any], figures: Mapping[str, float], optimized: Mapping[str, float]
) -> None:
    """Pass the results to every tracker: figures on the test frames, and the optimized figures."""
    from dlcpose.loggers.base import ExperimentTracker

    outcome = {f"test/{name}": value for name, value in figures.items()}
    outcome |= {f"optimized_metric/{name}": value for name, value in optimized.items()}
    for logger in trainer.loggers:
        if isinstance(logger, ExperimentTracker):
            logger.end(facts, outcome, Path(facts["config"]["run_dir"]))


def close_trackers(trainer: "Trainer", succeeded: bool) -> None:
    """Close the trackers' connections and files of this process."""
    from dlcpose.loggers.base import ExperimentTracker

    for logger in trainer.loggers:
        if isinstance(logger, ExperimentTracker):
            logger.close(succeeded)
