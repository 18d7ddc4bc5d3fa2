"""Which checkpoint a run goes on from, and with which frames."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.structures.errors import ConfigError

if TYPE_CHECKING:
    from dlcpose.build import Instantiator
    from dlcpose.datasets.base import LabelledFrames
    from dlcpose.structures.split import Split

LAST = Path("checkpoints") / "last.ckpt"  # within a run folder
TRACES = (LAST, Path("run.json"), Path("environment.txt"))  # what says that a folder is that of a run


def run_folder(fresh: str, resume: str | None) -> str:
    """Where a run leaves its files: a fresh folder, or that of the run it goes on from.

    A job of SLURM has one that is named by its number instead of the clock, so that it finds it when it is queued again.
    """
    if resume == "last":
        youngest = _youngest(Path(fresh))
        return fresh if youngest is None else str(youngest)
    if resume:
        belongs_to_a_run = Path(resume).parent.name == LAST.parent.name
        return str(Path(resume).parents[1]) if belongs_to_a_run else fresh
    if (job := _slurm_job()) is None:
        return fresh
    own = Path(fresh).parents[1] / "slurm" / job
    return str(own) if is_queued_again() or not _is_run(own) else fresh


def requeued(config: dict[str, Any]) -> dict[str, Any]:
    """The config, with `resume=last` where SLURM has queued the run again and it had left a checkpoint in its folder.

    Raises ConfigError where the folder holds a run of another config: two runs of one job need two names.
    """
    from dlcpose.runs.run_json import described, differences, read

    run_dir = Path(config["run_dir"])
    if not is_queued_again() or config["resume"] is not None or not _is_run(run_dir):
        return config
    began = read(run_dir)
    if began is not None and (unlike := differences(began["config"], described(config))):
        key, (there, here) = next(iter(unlike.items()))
        raise ConfigError(
            f"{run_dir}: this job was queued again, and the folder holds a run with another config ({key}: {there!r} there, "
            f"{here!r} here). Where a job has several runs, give each a name of its own (name=...)."
        )
    return {**config, "resume": "last"}


def settled(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the checkpoint that `resume=last` means, before anything is written into the run folder.

    It is that of the run folder, or where that was given and is new, that of the youngest run of this name. A run that
    was killed before it left one starts again from its beginning: `last` stays. Raises CheckpointError where there is no
    run.
    """
    from dlcpose.structures.errors import CheckpointError

    if config["resume"] != "last":
        return config
    run_dir = Path(config["run_dir"])
    found = run_dir if _is_run(run_dir) else _youngest(run_dir)
    if found is not None and (found / LAST).exists():
        return {**config, "resume": str(found / LAST)}
    if found != run_dir:
        raise CheckpointError(
            f"resume=last: no run below {run_dir.parents[1]} has left a checkpoint. Start without it."
        )
    if detector_to_resume("last", run_dir) is not None:
        begins = "so far only its detector has a checkpoint: it goes on with that"
    else:
        begins = "no checkpoint yet, so it starts from its beginning"
    print(f"resume=last: {run_dir}: {begins}", flush=True)
    return config


def checkpoint_to_resume(resume: str | None, run_dir: Path) -> Path | None:
    """The checkpoint a run goes on from: none, the one named, or for `last` that of its own folder where it has one."""
    if resume == "last":
        return run_dir / LAST if (run_dir / LAST).exists() else None
    return None if resume is None else Path(resume)


def detector_to_resume(resume: str | None, run_dir: Path) -> Path | None:
    """The last checkpoint of the detector of a run that was killed before its poses left one."""
    last = run_dir / "detector" / LAST
    return last if resume == "last" and last.exists() and not (run_dir / LAST).exists() else None


def _youngest(run_dir: Path) -> Path | None:
    """The run that was the last to do something, of those of a name, whose folders are <name>/<date>/<time>."""
    runs = [folder for folder in run_dir.parents[1].glob("*/*") if _is_run(folder) and folder != run_dir]
    return max(runs, key=_age, default=None)


def _is_run(folder: Path) -> bool:
    return any((folder / trace).exists() for trace in TRACES)


def _age(folder: Path) -> float:
    return max((folder / trace).stat().st_mtime for trace in TRACES if (folder / trace).exists())


def _slurm_job() -> str | None:
    """The number by which SLURM knows this job, also when it is queued again; None outside of SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def is_queued_again() -> bool:
    """Whether SLURM starts this job once more, after it was stopped."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0


def split_of(
    config: dict[str, Any], instantiate: "Instantiator", data: "LabelledFrames", resumed: Path | None
) -> "Split":
    """The split the config makes, or the very frames of the run that is resumed."""
    from dlcpose.checkpoint import read_checkpoint
    from dlcpose.structures.errors import DataError
    from dlcpose.structures.split import Split

    if resumed is None:
        made: Split = instantiate(config["split"], "split")(data)
        return made
    split = read_checkpoint(resumed).description.split
    here = {frame.key for frame in data.frames}
    gone = [key for key in (*split.train, *split.val, *split.test) if key not in here]
    if gone:
        raise DataError(
            f"resume={resumed}: {len(gone)} frames of that run are no longer in the data, such as {gone[0]}."
        )
    return split
