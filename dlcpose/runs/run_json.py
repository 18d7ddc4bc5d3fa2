"""run.json: what a run was asked to do and how it went, for the sweep that goes on and for whoever compares runs.

Written when a run begins, and again when it ends; one that says `running` and does not run any more was killed.
"""

import functools
import json
import math
import os
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.runs.provenance import overrides
from dlcpose.runs.resume import settled
from dlcpose.structures.atomic_files import write_atomic
from dlcpose.structures.errors import ConfigError

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer

FILE = "run.json"
HERE = "<run>"  # stands for the run folder, which may be moved
NOT_OF_THE_RUN = ("run_dir", "resume", "sweep")  # two configs that differ only in these describe the same run
STARTING = 5.0  # seconds; a run.json that is empty for longer is not that of a run that is just starting
Objective = float | list[float]


class TakenError(ConfigError):
    """A folder that holds another run."""


def recorded(train: Callable[[dict[str, Any]], Objective]) -> Callable[[dict[str, Any]], Objective]:
    """Training that keeps run.json; it refuses a folder that holds another run."""

    @functools.wraps(train)
    def kept(config: dict[str, Any]) -> Objective:
        if is_helper():
            return train(config)
        config = settled(config)
        run_dir = Path(config["run_dir"])
        begin(config)
        began = time.time()
        forget_peak_memory()
        try:
            value = train(config)
        except Exception as error:
            note(run_dir, status="failed", error=f"{' '.join(str(error).split())}" or type(error).__name__)
            raise
        values = value if isinstance(value, list) else [value]
        before = (read(run_dir) or {}).get("seconds_before", 0.0)
        note(
            run_dir,
            status="finished",
            evaluated=(run_dir / "evaluation" / "metrics.json").exists(),
            objective={name: number(value) for name, value in zip(objectives(config), values, strict=True)},
            finished=time.time(),
            seconds=before + time.time() - began,
        )
        return value

    return kept


def is_helper() -> bool:
    """Whether this process was started by another of the same run, which keeps the record for both."""
    return any(int(os.environ.get(name) or 0) > 0 for name in ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID"))


def begin(config: Mapping[str, Any]) -> None:
    """Write run.json as a run begins. Raises TakenError where the folder holds another run, or one that is not resumed."""
    run_dir = Path(config["run_dir"])
    earlier = read(run_dir)
    fresh = {
        "status": "running",
        "config": described(config),
        **_from_hydra(),
        "began": time.time(),
        "seconds_before": 0.0,
    }
    if earlier is None:
        run_dir.mkdir(parents=True, exist_ok=True)
        if config["resume"] is None:
            _claim(run_dir, fresh)
        else:  # whoever goes on knows that nobody else is there; a kill can have left an empty file
            _write(run_dir, fresh)
        return
    if config["resume"] is None and not (in_a_sweep() and earlier["config"] == fresh["config"]):
        raise TakenError(_taken(run_dir, earlier, fresh["config"]))
    if config["resume"] is not None:
        fresh["seconds_before"] = _seconds_so_far(run_dir, earlier)
    if in_a_sweep():  # a job that goes on leaves out what only starts one
        fresh["config"] = earlier["config"]
    _write(run_dir, fresh)


def _claim(run_dir: Path, fresh: Mapping[str, Any]) -> None:
    """The first run.json of a folder, whole from its first moment: of two runs that start there at once, one is told."""
    place, beside = run_dir / FILE, _written_beside(run_dir, fresh)
    try:
        _put_first(beside, place)
    except FileExistsError:
        if not _replaced_torn(beside, place):
            raise TakenError(
                f"{run_dir}: another run has just started in this folder, or the {FILE} in it is of something else. Start "
                "again, or give a folder with hydra.run.dir=..."
            ) from None
    finally:
        beside.unlink(missing_ok=True)


def _put_first(beside: Path, place: Path) -> None:
    """Put a file into its place. Raises FileExistsError where there is one."""
    try:
        os.link(beside, place)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: a kill between these two lines leaves an empty file
        os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        beside.replace(place)


def _replaced_torn(beside: Path, place: Path) -> bool:
    """Whether the file in the place was one that a kill or a power cut has left empty or torn; it is replaced then."""
    with place.open("r+") as there:
        try:
            import fcntl

            fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another run is just doing the same
            return False
        except (ImportError, OSError):  # a file system without locks, or Windows
            pass
        age = time.time() - place.stat().st_mtime
        has_stayed = os.path.samestat(os.fstat(there.fileno()), place.stat())
        if not (has_stayed and _is_torn(place) and age > STARTING):
            return False
        beside.replace(place)
        return True


def _is_torn(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return True
    return False


def _taken(run_dir: Path, earlier: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    differing = differences(earlier["config"], config)
    if differing:
        key, (there, here) = next(iter(differing.items()))
        others = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        what = f"a run with another config ({key}: {there!r} there, {here!r} here{others})"
    else:
        what = "a run of this config" if earlier["status"] == "finished" else "an unfinished run of this config"
    out = "Give another sweep.name" if in_a_sweep() else "Go on with it by resume=last, give another folder"
    return f"{run_dir}: the folder holds {what}. {out}, or remove that folder."


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The dotted keys at which two configs differ, with both values; None where a config has no such key."""
    ours, theirs = flat(first), flat(second)
    keys = [*ours, *(key for key in theirs if key not in ours)]
    return {key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)}


def flat(node: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A config by dotted keys; lists stay whole."""
    entries: dict[str, Any] = {}
    for name, value in node.items():
        key = f"{before}.{name}" if before else str(name)
        entries |= flat(value, key) if isinstance(value, Mapping) and value else {key: value}
    return entries


def described(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what differs from one run of it to the next; the run folder in it is named <run>."""
    kept = {key: value for key, value in config.items() if key not in NOT_OF_THE_RUN}
    folder = json.dumps(str(config["run_dir"]))[1:-1]
    content: dict[str, Any] = json.loads(json.dumps(kept).replace(folder, HERE))
    return content


def objectives(config: Mapping[str, Any]) -> list[str]:
    """The figures that a sweep optimises; mostly one."""
    named = config["optimized_metric"]
    return list(named) if isinstance(named, list) else [named]


def number(value: float) -> float | None:
    """A figure for a JSON file, which has no NaN."""
    return value if math.isfinite(value) else None


def in_a_sweep() -> bool:
    """Whether this run is a job of a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return bool(HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)


def _from_hydra() -> dict[str, Any]:
    """What was chosen and changed beside the defaults."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return {"choices": {}, "overrides": overrides(), "config_dir": None}
    known = HydraConfig.get().runtime
    own = [str(source.path) for source in known.config_sources if source.provider == "command-line"]
    return {
        "choices": {str(group): option for group, option in known.choices.items() if "hydra/" not in str(group)},
        "overrides": overrides(),
        "config_dir": own[0] if own else None,
    }


def note_cost(run_dir: Path, trainer: "Trainer", pipeline: "LightningModule") -> None:
    """What training took, into the run.json that is there; a detector's own run has none."""
    from dlcpose.callbacks.progress import Progress
    from dlcpose.callbacks.trial_pruning import TrialPruning

    if is_helper() or read(run_dir) is None:
        return
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    rates = [callback.images_per_s for callback in callbacks if isinstance(callback, Progress)]
    stopped = [callback.stopped for callback in callbacks if isinstance(callback, TrialPruning)]
    note(
        run_dir,
        epochs=trainer.current_epoch,
        parameters=sum(weight.numel() for weight in pipeline.parameters()),
        training_images_per_s=number(rates[0]) if rates else None,
        pruned=stopped[0] if stopped else None,
        device=_device(trainer),
    )


def _device(trainer: "Trainer") -> str:
    import torch

    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def forget_peak_memory() -> None:
    """Begin to measure memory anew: the jobs of a sweep may follow each other in one process."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # other systems than Linux have no such file, and some containers protect it
        Path("/proc/self/clear_refs").write_text("5")


def read(run_dir: Path) -> dict[str, Any] | None:
    """The run.json of a folder; None where there is none, or none that can be read."""
    try:
        content = json.loads((run_dir / FILE).read_text())
    except (OSError, ValueError):
        return None
    is_ours = isinstance(content, dict) and isinstance(content.get("config"), dict) and "status" in content
    return content if is_ours else None


def note(run_dir: Path, **entries: Any) -> None:
    """Add entries to the run.json of a folder."""
    _write(run_dir, {**(read(run_dir) or {}), **entries})


def _write(run_dir: Path, content: Mapping[str, Any]) -> None:
    write_atomic(run_dir / FILE, _as_text(content))


def _written_beside(run_dir: Path, content: Mapping[str, Any]) -> Path:
    beside = run_dir / f".{FILE}.{uuid.uuid4().hex}"
    beside.write_text(_as_text(content))
    return beside


def _as_text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"


def _seconds_so_far(run_dir: Path, earlier: Mapping[str, Any]) -> float:
    """How long the runs before this one took. Of one that was killed counts what it did until its last checkpoint."""
    if "seconds" in earlier:
        return float(earlier["seconds"])
    last = run_dir / "checkpoints" / "last.ckpt"
    began = float(earlier["began"])
    until = last.stat().st_mtime if last.exists() else began
    return float(earlier["seconds_before"]) + max(0.0, until - began)
