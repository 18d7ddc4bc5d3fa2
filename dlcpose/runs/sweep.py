"""Sweeps that can be killed and resumed: finished jobs are not repeated, and failed ones are listed at the end.

A sweep with a name (`sweep.name=rates`) has the folder multirun/rates, and each of its jobs a folder named by the values
it was given. The same command again finds them there.
"""

import argparse
import contextlib
import math
import re
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig

from dlcpose.config.folders import CONF, LAST_CHECKPOINT, METRICS, user_config_folders
from dlcpose.config.quoting import quoted
from dlcpose.config.sources import checked_loading
from dlcpose.runs.run_json import (
    FILE,
    comparable_config,
    effective_differences,
    in_multirun,
    optimized_metrics,
    read_run_json,
)
from dlcpose.structures.atomic_files import write_atomic
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.file_lock import alone
from dlcpose.structures.natural_order import natural_key

ERROR = "error.txt"  # in the folder of a job that failed
LOCK = ".sweep.lock"
EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"


class Sweep(NamedTuple):
    """A sweep to be launched: its folder, and the overrides added to its command."""

    folder: Path
    arguments: tuple[str, ...]


# ------------------------------------------------------------------------------------------------------- before a sweep


def sweep_of(arguments: Sequence[str], config_name: str) -> Sweep | None:
    """The sweep of a command; None where it is none.

    Raises ConfigError for mistakes that would otherwise show up in every job, or after the last, and Hydra's errors
    where the first job does not compose: a sweeper may open a study before it composes any.
    """
    shell = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    shell.add_argument("--multirun", "-m", action="store_true")
    shell.add_argument("--config-dir", "-cd", type=Path)
    shell.add_argument("--cfg", "-c")
    shell.add_argument("--help", "-h", action="store_true")
    parsed, rest = shell.parse_known_args(list(arguments))
    if not parsed.multirun or parsed.cfg or parsed.help:
        return None
    overrides = OverridesParser.create().parse_overrides([text for text in rest if not text.startswith("-")])
    _check_intervals(overrides)
    config = _first_job(config_name, overrides, user_config_folders(arguments))
    if "sweep" not in config:
        return None
    return _prepared(config, overrides)


def _check_intervals(overrides: Sequence[Override]) -> None:
    """Raises ConfigError for an interval whose ends are exchanged."""
    for override in overrides:
        value = override.value() if override.is_sweep_override() else None
        if isinstance(value, IntervalSweep) and not (value.start or 0) <= (value.end or 0):
            raise ConfigError(
                f"{override.input_line}: expected the smaller number first. Write interval({value.end},{value.start})."
            )


def _first_job(config_name: str, overrides: Sequence[Override], own: Sequence[Path]) -> DictConfig:
    """The config of a sweep, and of its first job where its values are a list."""
    texts = [
        f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
        if override.is_sweep_override() and override.is_discrete_sweep()
        else str(override.input_line)
        for override in overrides
        if not override.is_sweep_override() or override.is_discrete_sweep()
    ]
    own_folder = [f"hydra.searchpath=[file://{folder}]" for folder in own]
    GlobalHydra.instance().clear()
    try:
        given = [*texts, *own_folder]
        with checked_loading(given), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config: DictConfig = hydra.compose(config_name, given, return_hydra_config=True)
            return config
    finally:
        GlobalHydra.instance().clear()


def _prepared(config: DictConfig, overrides: Sequence[Override]) -> Sweep:
    name = config.sweep.name
    if name is not None and (not re.fullmatch(r"[\w.+-]+", str(name)) or not str(name).strip(".")):
        raise ConfigError(f"sweep.name={name}: expected a name for a folder: letters, digits, '_', '-', '+', '.'.")
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        folder = Path(config.hydra.sweep.dir)
        swept = {
            override.get_key_element(): str(override.input_line.split("=", 1)[-1])
            for override in overrides
            if override.is_sweep_override()
        }
        swept |= {str(key): str(value) for key, value in (config.hydra.sweeper.get("params") or {}).items()}
        arguments = [f"hydra.sweep.dir={quoted(str(folder))}"]
        given = [str(override.key_or_group) for override in overrides]
        if EXCLUDED not in given:
            fixed = [key for key in given if key not in swept and not key.startswith("hydra")]
            arguments.append(f"{EXCLUDED}=[{','.join(quoted(key) for key in (*fixed, 'sweep.trial'))}]")
        if "storage" in config.hydra.sweeper:
            from dlcpose.runs.optuna_study import prepare_study

            folder.mkdir(parents=True, exist_ok=True)
            arguments += prepare_study(config, swept)
        return Sweep(folder, tuple(arguments))
    finally:
        HydraConfig.instance().cfg = before


# --------------------------------------------------------------------------------------------------------- within a job


def earlier_run(config: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The earlier run in a job's folder: run.json if it is finished, and the config to train with.

    Where a run of the same config was killed, that config resumes it from its last checkpoint.
    """
    run_dir = Path(config["run_dir"])
    if not in_multirun():
        return None, config
    earlier = read_run_json(run_dir)
    (run_dir / ERROR).unlink(missing_ok=True)  # of an earlier sweep; else it would count as a failure of this one
    if earlier is None or effective_differences(earlier["config"], comparable_config(config)):
        return None, config  # run_json.begin_run starts or refuses it
    if earlier["status"] == "finished" and (not earlier.get("evaluated") or (run_dir / METRICS).exists()):
        return earlier, config
    if earlier["status"] != "running" or config["resume"] is not None:
        return None, config
    # A resumed run has its own weights: others beside them would be refused.
    has_weights = (run_dir / LAST_CHECKPOINT).exists()
    return None, {
        **config,
        "resume": "last",
        **({"init_from": {"checkpoint": None, "strict": True}} if has_weights else {}),
    }


def value_of(earlier: Mapping[str, Any], config: Mapping[str, Any]) -> float | list[float]:
    """The optimized figure of a finished run, or a list of several, as the sweeper takes it."""
    values = [float("nan") if value is None else float(value) for value in earlier["optimized_metric"].values()]
    return values if isinstance(config["optimized_metric"], list) else values[0]


def check_objective(config: Mapping[str, Any], value: float | list[float]) -> None:
    """Raises ConfigError where the optimized figure is not finite: its trial has failed.

    Optuna would end the whole study, or take infinity as a value.
    """
    values = value if isinstance(value, list) else [value]
    for name, number in zip(optimized_metrics(config), values, strict=True):
        if not math.isfinite(number):
            raise ConfigError(
                f"optimized_metric: {name} of this trial is {number:g}, so it counts as failed. It has a value where "
                "there are validation frames (split.val above 0) and animals are detected in them."
            )


def record_failure(error: Exception, reason: str | None) -> None:
    """Write a job's error into its folder, for the report of its sweep; with a traceback where it is not a user's mistake."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    first = reason or f"{type(error).__name__}: {' '.join(str(error).split())}"
    rest = "" if reason else "\n" + "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError):
        write_atomic(folder / ERROR, f"{first}\n{rest}")


# ------------------------------------------------------------------------------------------------------------ at its end


def report(folder: Path, began: float, say: Callable[[str], None] = print) -> str | None:
    """Print the status of the jobs in a sweep's folder; returns one line where some failed or were killed in this sweep.

    began: when the sweep did, in seconds since 1970; jobs finished before are counted separately.
    """
    found = {path.parent for name in (FILE, ERROR) for path in folder.glob(f"*/{name}")}
    jobs = sorted(found, key=lambda job: natural_key(job.name))
    if not jobs:
        return None
    runs = {job: read_run_json(job) for job in jobs}
    failures = {
        job: ((job / ERROR).read_text(encoding="utf-8", errors="replace").splitlines() or ["no reason is on record"])[0]
        for job in jobs
        if (job / ERROR).exists()
        and (job / ERROR).stat().st_mtime >= began - 1  # file systems may cut off parts of a second
    }
    finished = [job for job, run in runs.items() if run and run["status"] == "finished" and job not in failures]
    earlier = [job for job in finished if runs[job]["finished"] < began]  # type: ignore[index]
    killed = [job for job, run in runs.items() if run and run["status"] == "running" and job not in failures]
    counts = [f"{len(finished)} done" + (f" ({len(earlier)} of them before)" if earlier else "")]
    counts += [f"{len(failures)} failed"] if failures else []
    counts += [f"{len(killed)} killed"] if killed else []
    say(f"\nsweep {folder}: {', '.join(counts)}")
    for job, reason in failures.items():
        say(f"  failed: {job.name}: {reason}")
    for job in killed:
        say(f"  not finished: {job.name}")
    if finished:
        say(f"compare its runs: dlcpose compare {folder}")
    if not (failures or killed):
        return None
    return _in_one_line(failures, killed, len(jobs))


def _in_one_line(failures: Mapping[Path, str], killed: Sequence[Path], jobs: int) -> str:
    if not failures:
        return f"{len(killed)} of {counted(jobs, 'job')} did not finish, such as {killed[0]}. The same command goes on."
    job, reason = next(iter(failures.items()))
    same = len(set(failures.values())) == 1
    where = "" if same and len(failures) == jobs else f"{job}: "
    others = "" if same else " (the others are listed above)"
    return f"{len(failures)} of {counted(jobs, 'job')} failed: {where}{reason}{others}"


def launch(main: Callable[[], None], sweep: Sweep) -> None:
    """Run a sweep to its end even if jobs fail, and report. Raises the error that ended it unless it was a job's."""
    began = time.time()
    taken = ConfigError(
        f"{sweep.folder}: another sweep is running in this folder. Wait for it, or give this one another sweep.name."
    )
    with alone(sweep.folder / LOCK, taken):
        error: Exception | None = None
        try:
            main()
        except Exception as raised:
            error = raised
        failed = report(sweep.folder, began)
    if failed is not None:
        is_of_no_job = error is not None and not list(sweep.folder.glob(f"*/{ERROR}"))
        ended = f" The sweep was ended by {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise SweepError(failed + (ended if is_of_no_job else "")) from error
    if error is not None:
        raise error


class SweepError(ConfigError):
    """Jobs of a sweep have failed; the others are done."""
