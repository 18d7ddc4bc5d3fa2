"""Folders of config files, and the resolvers that name the folders of runs and sweeps.

Hydra writes its own files into the run folder too, so it has to know the folder of a resumed run: configs get it from a
resolver, `${dlcpose.run_folder:...}`.
"""

import argparse
import hashlib
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from dlcpose.structures.environment import check_environment
from dlcpose.structures.errors import ConfigError

CONF = next(
    folder
    for folder in (Path(__file__).parents[1] / "conf", Path(__file__).parents[2] / "conf")  # installed, checkout
    if folder.is_dir()
)

LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"  # within a run folder
HYDRA_FOLDER = ".hydra"  # within a run folder: what Hydra keeps of the command
METRICS = Path("evaluation") / "metrics.json"  # likewise
DETECTOR_FOLDER = "detector"  # of a run folder: the run of the detector that is trained before the poses
TEACHERS_FOLDER = "teachers"  # of a run folder: a run for each of the teachers that are trained before a student
RUN_FILES = (LAST_CHECKPOINT, Path("run.json"), Path("environment.txt"))  # any of them marks a folder as that of a run
MAX_NAME_LENGTH = 120  # of a folder; file systems take 255 bytes


# ------------------------------------------------------------------------------------------------- groups and options


def group_names() -> list[str]:
    """Names of the config groups, those within others too (`head/edges`), but Hydra's own."""
    folders = (folder.relative_to(CONF).as_posix() for folder in CONF.rglob("*") if folder.is_dir())
    return sorted(name for name in folders if name.split("/")[0] != "hydra")


def option_names(group: str, arguments: Sequence[str] = ()) -> list[str]:
    """Names of a group's options, with those of the folder of the user's own that the arguments name."""
    folders = (CONF, *user_config_folders(arguments))
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml") if file.stem[0] != "_"})


def user_config_folders(arguments: Sequence[str]) -> list[Path]:
    """The folders of options that `--config-dir`, or from Python `hydra.searchpath=[file://...]`, names."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    named = parser.parse_known_args(list(arguments))[0].config_dir
    searched = [argument for argument in arguments if argument.startswith("hydra.searchpath=")]
    folders = [Path(folder) for argument in searched for folder in re.findall(r"file://([^,\]'\"]+)", argument)]
    return [folder.absolute() for folder in ([] if named is None else [named]) + folders]


def check_user_folders(arguments: Sequence[str]) -> None:
    """Raises ConfigError for a folder of options that is not there: Hydra would look without it for what it holds."""
    for folder in user_config_folders(arguments):
        if not folder.is_dir():
            got = "a file" if folder.exists() else "nothing"
            raise ConfigError(f"{folder}: expected a folder of options (--config-dir, hydra.searchpath), got {got}.")


# ------------------------------------------------------------------------------------------------------------- resolvers


def register_resolvers() -> None:
    """Make the folders below known to OmegaConf; calling it again changes nothing."""
    for resolve in (run_folder, sweep_folder, job_folder):
        OmegaConf.register_new_resolver(f"dlcpose.{resolve.__name__}", resolve, replace=True)
    OmegaConf.register_new_resolver("dlcpose.absolute", os.path.abspath, replace=True)


def run_folder(new: str, resume: str | None) -> str:
    """Where a run leaves its files: a new folder, or that of the run it resumes.

    A SLURM job has one that is named by its number instead of the clock, so that it finds it when it is requeued.
    """
    if resume == "last":
        latest = latest_run(Path(new))
        return new if latest is None else str(latest)
    if resume:
        resume = str(resume)  # a folder may be named by a number
        belongs_to_a_run = Path(resume).parent.name == LAST_CHECKPOINT.parent.name
        return str(Path(resume).parents[1]) if belongs_to_a_run else _unused(new)
    if (job := _slurm_job()) is None:
        return _unused(new)
    own = Path(new).parents[1] / "slurm" / job
    return str(own) if is_requeued() or not is_run(own) else new


_named: dict[str, str] = {}  # folders that this command has named: Hydra asks more than once


def forget_named_folders() -> None:
    """To be called by each command: another one of this process may have begun in the same second."""
    _named.clear()


def _unused(new: str) -> str:
    """The folder that a clock names, or one beside it where a run that began in the same second has it."""
    return _named.setdefault(new, str(unused_folder(Path(new))))


def unused_folder(folder: Path) -> Path:
    """The folder, or where it is there the first of its name with a number that is not."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return folder if not folder.exists() else next(each for each in numbered if not each.exists())


def sweep_folder(name: str | None, dated: str) -> str:
    """The folder of a sweep below multirun/: its name, or else when it began."""
    return dated if name is None else str(name)


def job_folder(name: str | None, number: int | str, values: str) -> str:
    """The folder of a job within its sweep's: its values where the sweep has a name, so that it is found again."""
    if name is None or not values:
        return str(number)
    # No comma, equals sign or space: Hydra would want such a path quoted in `checkpoint=...`.
    text = re.sub(r"[^\w.+-]+", "_", values).lstrip(".") or str(number)
    if len(text) <= MAX_NAME_LENGTH:
        return text
    return f"{text[: MAX_NAME_LENGTH - 9]}-{hashlib.sha1(values.encode()).hexdigest()[:8]}"


# ------------------------------------------------------------------------------------------------------ which are runs


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return any((folder / file).exists() for file in RUN_FILES)


def latest_run(run_dir: Path) -> Path | None:
    """The run of a name that wrote to its folder last, of <name>/<date>/<time>."""
    return next(iter(runs_beside(run_dir)), None)


def runs_beside(run_dir: Path) -> list[Path]:
    """The other runs of a name, of <name>/<date>/<time>; the one that wrote to its folder last is the first."""
    runs = [folder for folder in run_dir.parents[1].glob("*/*") if is_run(folder) and folder != run_dir]
    return sorted(runs, key=_last_written, reverse=True)


def _last_written(folder: Path) -> float:
    return max((folder / file).stat().st_mtime for file in RUN_FILES if (folder / file).exists())


def check_resumed_folder(run_dir: Path) -> None:
    """Raises ConfigError for a link, a pipe or a device among the files that a resumed run writes again.

    Hydra and logging write through links: somebody else's run folder could have any file overwritten. The folder
    `checkpoints` may be a link, to a larger disk; files in it are replaced and never written through.
    """
    stages = [run_dir / DETECTOR_FOLDER, run_dir / TEACHERS_FOLDER, *_entries(run_dir / TEACHERS_FOLDER)]
    for path in (entry for folder in (run_dir, run_dir / HYDRA_FOLDER, *stages) for entry in _entries(folder)):
        if path.name == LAST_CHECKPOINT.parent.name and path.is_dir():
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            got = f"a link to {path.readlink()}" if path.is_symlink() else "a pipe or a device"
            raise ConfigError(
                f"{path}: expected a file or folder of the run that is resumed, got {got[:200]}: what is written there would "
                "go elsewhere. Replace it by the file itself, or remove it."
            )


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def is_requeued() -> bool:
    """Whether SLURM starts this job once more, after it was stopped."""
    check_environment()
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def _slurm_job() -> str | None:
    """The number by which SLURM knows this job, also when it is requeued; None outside of SLURM."""
    check_environment()  # they name a folder
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
