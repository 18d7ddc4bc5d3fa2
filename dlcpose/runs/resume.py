"""Find the checkpoint that a run resumes from, and check its settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlcpose.config.folders import DETECTOR_FOLDER, LAST_CHECKPOINT, TEACHERS_FOLDER, is_requeued, is_run, runs_beside
from dlcpose.runs.run_json import (
    comparable_config,
    config_differences,
    effective_differences,
    in_multirun,
    read_run_json,
)
from dlcpose.structures.errors import CheckpointError, ConfigError
from dlcpose.structures.home_folder import expand_home

KEPT = ("optimizer", "scheduler", "split")  # of these a resumed run has its own: their state is in its checkpoint


def resume_if_requeued(config: dict[str, Any]) -> dict[str, Any]:
    """The config, with `resume=last` where SLURM has requeued a run that had left a checkpoint in its folder.

    Raises ConfigError where the folder holds a run of another config: two runs of one job need two names.
    """
    run_dir = Path(config["run_dir"])
    if not is_requeued() or config["resume"] is not None or not is_run(run_dir):
        return config
    began = read_run_json(run_dir)
    if began is not None and (differing := effective_differences(began["config"], comparable_config(config))):
        key, (there, here) = next(iter(differing.items()))
        raise ConfigError(
            f"{run_dir}: this job was requeued, and the folder holds a run with another config ({key}: {there!r} there, "
            f"{here!r} here). Where a job has several runs, give each a name of its own (name=...)."
        )
    return {**config, "resume": "last"}


def resolve_last(config: dict[str, Any]) -> dict[str, Any]:
    """The config with `resume=last` replaced by a path, before anything is written into the run folder.

    It is that of the run folder, or where that is new, that of the latest run of this name beside it that has left one. A
    run that was killed before, and whose own folder this is, starts again from its beginning: `last` stays. Raises
    CheckpointError where there is no run.
    """
    if config["resume"] != "last":
        named = config["resume"]
        return config if named is None else {**config, "resume": str(expand_home(str(named)))}
    run_dir = Path(config["run_dir"])
    resumed = run_dir if is_run(run_dir) else _latest_to_resume(run_dir, config["name"])
    if resumed is not None and (resumed / LAST_CHECKPOINT).exists():
        return {**config, "resume": str(resumed / LAST_CHECKPOINT)}
    if resumed != run_dir:
        raise CheckpointError(
            f"resume=last: no run below {run_dir.parents[1]} has left a checkpoint under the name {config['name']}. Start "
            "without it, or name the checkpoint: resume=PATH."
        )
    if before := earlier_stages(run_dir):
        names = " and ".join(dict.fromkeys(stage.relative_to(run_dir).parts[0] for stage in before))
        begins = f"so far only its {names} has a checkpoint: it resumes that"
    else:
        begins = "no checkpoint yet, so it starts from its beginning"
    print(f"resume=last: {run_dir}: {begins}", flush=True)
    return config


def _latest_to_resume(run_dir: Path, name: str) -> Path | None:
    """The run beside a new folder that wrote last, of those that have left a checkpoint; says which, and which have not."""
    runs = [folder for folder in runs_beside(run_dir) if _has_name(folder, name, run_dir)]
    place = next((place for place, folder in enumerate(runs) if (folder / LAST_CHECKPOINT).exists()), None)
    if place is None:
        return None
    younger = ", ".join(map(str, runs[:place]))
    passed = f"; passed over, killed before their first checkpoint: {younger}" if younger else ""
    print(f"resume=last: resumes {runs[place]}{passed}", flush=True)
    return runs[place]


def _has_name(folder: Path, name: str, run_dir: Path) -> bool:
    """Whether a folder holds a run of a name; one whose record says none lies where the runs of its name lie.

    run_dir: the new run's, in <name>/<date>/<time> unless another folder was given: then only what lies right beside it may
    be of its name.
    """
    record = read_run_json(folder)
    known = None if record is None else record["config"].get("name")
    if known is not None:
        return bool(known == name)
    return run_dir.parent.parent.name == name or folder.parent == run_dir.parent


def how_to_resume(config: Mapping[str, Any]) -> str:
    """What a stopped run goes on with, for a sentence that says so: a job of a sweep with that sweep's own command."""
    if not in_multirun():
        return "resume=last"
    if config["sweep"]["name"] is not None:
        return "the same command"
    from hydra.core.hydra_config import HydraConfig

    folder = HydraConfig.get().runtime.output_dir
    return (
        f"run_dir={folder} resume=last, without -m and with this job's values (a sweep that has a sweep.name goes on by the "
        "same command)"
    )


def check_resumed_settings(config: Mapping[str, Any], resumed: Path, before: Mapping[str, Any]) -> str | None:
    """The settings of a resumed run that have changed, in one line; None where none has.

    before: the config in the checkpoint. Raises ConfigError for changes without effect: the optimizer keeps its
    learning rate and momentum, and the frames stay in their sets.
    """
    differing = config_differences(comparable_config(before), comparable_config(config))
    for key, (there, here) in differing.items():
        if key.split(".")[0] in KEPT:
            raise ConfigError(
                f"resume={resumed}: {key} was {there!r} and is {here!r} now, but a resumed run keeps its own. Leave it as it "
                f"was, or start a new run from its weights: init_from.checkpoint={resumed} in place of resume."
            )
    changes = [f"{key}={here} (was {there})" for key, (there, here) in differing.items()]
    return f"resumed with other settings: {', '.join(changes)}" if changes else None


def checkpoint_to_resume(resume: str | None, run_dir: Path) -> Path | None:
    """The checkpoint a run resumes from: none, the one named, or for `last` that of its own folder where it has one."""
    if resume == "last":
        return run_dir / LAST_CHECKPOINT if (run_dir / LAST_CHECKPOINT).exists() else None
    return None if resume is None else Path(resume)


def stage_to_resume(resume: str | None, run_dir: Path, folder: str) -> Path | None:
    """The last checkpoint of a stage in a folder of a run that was killed before its last stage left one."""
    last = run_dir / folder / LAST_CHECKPOINT
    return last if resume == "last" and last.exists() and not (run_dir / LAST_CHECKPOINT).exists() else None


def earlier_stages(run_dir: Path) -> list[Path]:
    """The last checkpoints of the stages of a run that was killed before its last stage left one, in their order."""
    teachers = [folder for folder in (run_dir / TEACHERS_FOLDER).glob("*") if folder.name.isdecimal()]
    folders = [run_dir / DETECTOR_FOLDER, *sorted(teachers, key=lambda folder: int(folder.name))]
    names = [str(folder.relative_to(run_dir)) for folder in folders]
    found = [stage_to_resume("last", run_dir, name) for name in names]
    return [last for last in found if last is not None]
