"""Record a training in run.json: start, status, results."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcpose.config.folders import METRICS, check_resumed_folder
from dlcpose.metrics.figure_info import finite_or_none
from dlcpose.runs.resume import resolve_last
from dlcpose.runs.run_json import (
    MetricValue,
    TakenError,
    begin_run,
    is_worker_process,
    optimized_metrics,
    read_run_json,
    reset_peak_memory,
    update_run_json,
)
from dlcpose.structures.file_lock import alone

LOCK = ".lock"  # in a run folder: two that resumed one run would write over each other


def recorded(train: Callable[[dict[str, Any]], MetricValue]) -> Callable[[dict[str, Any]], MetricValue]:
    """A context that records training in run.json; raises TakenError for a folder that holds another run."""

    @functools.wraps(train)
    def train_and_record(config: dict[str, Any]) -> MetricValue:
        if is_worker_process():
            return train(config)
        config = resolve_last(config)
        run_dir = Path(config["run_dir"])
        if config["resume"] is not None:
            check_resumed_folder(run_dir)
        taken = TakenError(
            f"{run_dir}: another process is training in this folder. Wait for it, or stop it first; a run of its own "
            "needs another folder (hydra.run.dir=...)."
        )
        with alone(run_dir / LOCK, taken):
            begin_run(config)
            return _trained(config, train)

    return train_and_record


def _trained(config: dict[str, Any], train: Callable[[dict[str, Any]], MetricValue]) -> MetricValue:
    """Train what has begun, and keep in its run.json how it ended."""
    run_dir = Path(config["run_dir"])
    start = time.time()
    reset_peak_memory()
    try:
        value = train(config)
    except Exception as error:
        update_run_json(run_dir, status="failed", error=" ".join(str(error).split()) or type(error).__name__)
        raise
    values = value if isinstance(value, list) else [value]
    seconds_before = (read_run_json(run_dir) or {}).get("seconds_before", 0.0)
    update_run_json(
        run_dir,
        status="finished",
        evaluated=(run_dir / METRICS).exists(),
        optimized_metric=dict(zip(optimized_metrics(config), map(finite_or_none, values), strict=True)),
        finished=time.time(),
        seconds=seconds_before + time.time() - start,
    )
    return value
