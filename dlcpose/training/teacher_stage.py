"""The config of the runs before that of a student: its teachers, as the run itself would be, from other seeds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlcpose.config.folders import TEACHERS_FOLDER

SEEDED = ("datamodule", "pipeline")  # parts of a config that have the run's seed as a setting


def teacher_folder(number: int) -> str:
    """The folder of teacher `number`, from 0, in that of its student's run."""
    return f"{TEACHERS_FOLDER}/{number + 1}"


def teacher_config(config: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The config of teacher `number`, from 0: that of the student without pseudo-labels, from another seed.

    The first one has the student's seed. Its split is the student's. What reports to a study leaves the teachers out.
    """
    seed = config["seed"] + number
    seeded = {name: {**config[name], "seed": seed} for name in SEEDED if "seed" in config[name]}
    return {
        **config,
        **seeded,
        "seed": seed,
        "name": f"{config['name']}_teacher_{number + 1}",
        "pseudo_labels": {},
        "callbacks": {name: node for name, node in config["callbacks"].items() if name != "pruning"},
        "run_dir": str(Path(config["run_dir"]) / teacher_folder(number)),
    }
