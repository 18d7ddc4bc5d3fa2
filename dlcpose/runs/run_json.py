"""run.json: config, status, cost and results of a run, for resumed sweeps and comparisons.

Written when a run begins, and again when it ends; a run that is `running` in it but not alive was killed.
"""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.config.dotted_keys import flatten_config
from dlcpose.config.folders import LAST_CHECKPOINT
from dlcpose.metrics.figure_info import finite_or_none
from dlcpose.runs.provenance import overrides
from dlcpose.structures.atomic_files import write_atomic
from dlcpose.structures.checked_values import Fields
from dlcpose.structures.data_files import read_file, read_json
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.interrupts import stopped_at_once

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from dlcpose.pipelines.base import PoseModule

FILE = "run.json"
MAX_BYTES = 2**26
MAX_SECONDS = 1e12
TRIAL = "sweep.trial"  # the key by which a job knows its trial
RUN_FOLDER = "<run>"  # stands for the run folder, which may be moved
NOT_COMPARED = ("run_dir", "resume", "sweep")  # two configs that differ only in these are of the same run
# Settings of the machine, and of what is shown and logged: figures are the same whatever they are.
WITHOUT_EFFECT = (
    *("datamodule.workers", "datamodule.cache_gb", "evaluation.pictures", "logger", "trust"),
    *("callbacks.progress", "callbacks.pictures", "callbacks.learning_rate"),
    *("trainer.enable_model_summary", "trainer.enable_progress_bar", "trainer.log_every_n_steps"),
)
TORN_AFTER = 5.0  # seconds; an unreadable run.json that is older was left by a kill
MetricValue = float | list[float]  # of `optimized_metric`, or of each where it names several


class TakenError(ConfigError):
    """A folder that holds another run."""


def is_worker_process() -> bool:
    """Whether this process was started by another of the same run, which writes run.json for both."""
    ranks = [os.environ.get(name) or "0" for name in ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID")]
    return any(rank.isdecimal() and int(rank) > 0 for rank in ranks)


def begin_run(config: Mapping[str, Any]) -> None:
    """Write run.json as a run begins. Raises TakenError where the folder holds another run, or one that is not resumed."""
    run_dir = Path(config["run_dir"])
    earlier = read_run_json(run_dir)
    content = {
        "status": "running",
        "config": comparable_config(config),
        **_from_hydra(),
        "working_folder": str(Path.cwd()),
        "began": time.time(),
        "seconds_before": 0.0,
    }
    if earlier is None:
        run_dir.mkdir(parents=True, exist_ok=True)
        if config["resume"] is None:
            _claim(run_dir, content)
        else:
            _write(run_dir, content)
        return
    if config["resume"] is None and not (
        in_multirun() and not effective_differences(earlier["config"], content["config"])
    ):
        raise TakenError(_taken(run_dir, earlier, content["config"]))
    if config["resume"] is not None:
        content["seconds_before"] = _seconds_so_far(run_dir, earlier)
    if in_multirun():  # a resumed job ignores settings that only start a run
        content["config"] = earlier["config"]
    _write(run_dir, content)


def _claim(run_dir: Path, content: Mapping[str, Any]) -> None:
    """Write the first run.json of a folder; of two runs that begin there at once, the second gets TakenError."""
    path = run_dir / FILE
    try:
        # The age first: a torn file may be complete a moment later, with another age.
        age = path.stat().st_mtime_ns if path.exists() else None
        if age is not None and time.time() - age / 1e9 > TORN_AFTER and _is_torn(path):
            _replace_torn(path, age, content)
        else:
            path.touch(exist_ok=False)
            try:
                _write(run_dir, content)
            except OSError:  # a full disk: a record that says nothing would keep others out of the folder
                path.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise TakenError(
            f"{run_dir}: another run has just started in this folder, or the {FILE} in it is of something else. Start "
            "again, or give a folder with hydra.run.dir=..."
        ) from None


def _replace_torn(path: Path, age: int, content: Mapping[str, Any]) -> None:
    """Replace a torn run.json. Raises FileExistsError for all but one of several processes that try at once.

    age: of the torn file, ns.
    """
    claim = path.with_name(f".{path.name}.{age}")
    claim.touch(exist_ok=False)
    try:
        if path.stat().st_mtime_ns != age:  # another process has replaced it
            raise FileExistsError(path)
        _write(path.parent, content)
    finally:
        claim.unlink()


def _is_torn(path: Path) -> bool:
    """Whether a file is incomplete, by a kill or a power cut."""
    try:
        json.loads(read_file(path, max_bytes=MAX_BYTES))  # not parse_json: what it refuses besides is whole
    except ValueError:
        return True
    except (DataError, RecursionError):  # a pipe, or of something else
        return False
    return False


def _taken(run_dir: Path, earlier: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    differing = effective_differences(earlier["config"], config)
    if differing:
        key, (there, here) = next(iter(differing.items()))
        others = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        what = f"a run with another config ({key}: {there!r} there, {here!r} here{others})"
    else:
        what = "a run of this config" if earlier["status"] == "finished" else "an unfinished run of this config"
    out = "Give another sweep.name" if in_multirun() else "Resume it with resume=last, give another folder"
    return f"{run_dir}: the folder holds {what}. {out}, or remove that folder."


def config_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The dotted keys at which two configs differ, with both values; None where a config has no such key."""
    ours, theirs = flatten_config(first), flatten_config(second)
    keys = [*ours, *(key for key in theirs if key not in ours)]
    return {key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)}


def effective_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The differences of two configs that runs of them may differ by: those but WITHOUT_EFFECT."""
    return {
        key: values
        for key, values in config_differences(first, second).items()
        if not any(key == name or key.startswith(f"{name}.") for name in WITHOUT_EFFECT)
    }


def comparable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the keys that differ between runs of it; the run folder in it is named <run>."""
    kept = {key: value for key, value in config.items() if key not in NOT_COMPARED}
    content: dict[str, Any] = _in_folder(json.loads(json.dumps(kept)), str(config["run_dir"]), RUN_FOLDER)
    return content


def _in_folder(value: Any, folder: str, other: str) -> Any:
    """A value of a config in which paths in a folder are in another; /runs/mice-data is not in /runs/mice."""
    if isinstance(value, dict):
        return {key: _in_folder(entry, folder, other) for key, entry in value.items()}
    if isinstance(value, list):
        return [_in_folder(entry, folder, other) for entry in value]
    if isinstance(value, str) and (value == folder or value.startswith((f"{folder}/", f"{folder}{os.sep}"))):
        return other + value[len(folder) :]
    return value


def optimized_metrics(config: Mapping[str, Any]) -> list[str]:
    """The figures that a sweep optimizes; mostly one."""
    named = config["optimized_metric"]
    return list(named) if isinstance(named, list) else [named]


def in_multirun() -> bool:
    """Whether this run is a job of a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return bool(HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)


def _from_hydra() -> dict[str, Any]:
    """Hydra's choices and overrides of this run."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return {"choices": {}, "overrides": overrides(), "config_dir": None}
    runtime = HydraConfig.get().runtime
    own = [str(source.path) for source in runtime.config_sources if source.provider == "command-line"]
    return {
        "choices": {str(group): option for group, option in runtime.choices.items() if "hydra/" not in str(group)},
        "overrides": overrides(),
        "config_dir": own[0] if own else None,
    }


def record_training(run_dir: Path, trainer: "Trainer", pipeline: "PoseModule") -> None:
    """Add the costs of training, and the facts about its figures, to run.json, where there is one.

    A detector's own run has none.
    """
    from dlcpose.callbacks.progress import Progress
    from dlcpose.callbacks.trial_pruning import TrialPruning
    from dlcpose.metrics.base import infos_of

    if is_worker_process() or read_run_json(run_dir) is None:
        return
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    rates = [callback.images_per_s for callback in callbacks if isinstance(callback, Progress)]
    stopped = [callback.stopped for callback in callbacks if isinstance(callback, TrialPruning)]
    update_run_json(
        run_dir,
        epochs=trainer.current_epoch,
        parameters=sum(weight.numel() for weight in pipeline.parameters()),
        training_images_per_s=finite_or_none(rates[0]) if rates else None,
        pruned=stopped[0] if stopped else None,
        device=_device_name(trainer),
        metrics_info={name: asdict(info) for name, info in infos_of(pipeline.metrics).items()},
    )


def _device_name(trainer: "Trainer") -> str:
    import torch

    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def reset_peak_memory() -> None:
    """Begin to measure memory anew: the jobs of a sweep may follow each other in one process."""
    with stopped_at_once():  # the first import of torch in a run
        import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # other systems than Linux have no such file, and some containers protect it
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def read_run_json(run_dir: Path) -> dict[str, Any] | None:
    """The run.json of a folder; None where there is none, or none that can be read."""
    try:
        content = read_json(run_dir / FILE, max_bytes=MAX_BYTES)
    except DataError:
        return None
    is_ours = isinstance(content, dict) and isinstance(content.get("config"), dict) and "status" in content
    return content if is_ours else None


@dataclass(frozen=True)
class FoundRun:
    """The run that a checkpoint is of.

    stage: its folder within run_dir, "" for the run itself, "detector" or "teachers/1" for one before. working_folder:
    that of the command, to which relative paths in its config belong; None where run.json does not say it.
    """

    run_dir: Path
    stage: str
    config: dict[str, Any]
    working_folder: Path | None


def find_run(checkpoint: Path) -> FoundRun | None:
    """The run that a checkpoint, or what it is a link to, is of, in its folder `checkpoints`; None without a run.json."""
    for path in dict.fromkeys((checkpoint.absolute(), checkpoint.resolve())):
        if path.parent.name != LAST_CHECKPOINT.parent.name:
            continue
        for run_dir in path.parents[1:4]:
            if (entry := read_run_json(run_dir)) is not None:
                config = _in_folder(entry["config"], RUN_FOLDER, str(run_dir))
                stage = path.parents[1].relative_to(run_dir).as_posix().removeprefix(".")
                began_in = entry.get("working_folder")
                working_folder = Path(began_in) if isinstance(began_in, str) else None
                return FoundRun(run_dir, stage, {**config, "run_dir": str(run_dir)}, working_folder)
    return None


def update_run_json(run_dir: Path, **entries: Any) -> None:
    """Add entries to the run.json of a folder."""
    _write(run_dir, {**(read_run_json(run_dir) or {}), **entries})


def _write(run_dir: Path, content: Mapping[str, Any]) -> None:
    write_atomic(run_dir / FILE, json.dumps(content, indent=1) + "\n")


def _seconds_so_far(run_dir: Path, earlier: Mapping[str, Any]) -> float:
    """Seconds of the runs that this one resumes; of a killed one, until its last checkpoint.

    Raises DataError where run.json, which may be somebody else's, does not say them.
    """
    entry = Fields(earlier, str(run_dir / FILE))
    if entry.has("seconds"):
        return entry.number("seconds", minimum=0, maximum=MAX_SECONDS)
    last = run_dir / LAST_CHECKPOINT
    began = entry.number("began", minimum=0, maximum=MAX_SECONDS)
    until = last.stat().st_mtime if last.exists() else began
    return entry.number("seconds_before", minimum=0, maximum=MAX_SECONDS) + max(0.0, until - began)
