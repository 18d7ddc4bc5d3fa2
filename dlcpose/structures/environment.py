"""The environment of a process: its CPU cores, and variables that libraries read as numbers as they are imported."""

import os

from dlcpose.structures.errors import ConfigError

# As torchrun, SLURM and jsrun set them.
COUNTS = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "JSM_NAMESPACE_RANK"),
)


def cpu_cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_environment() -> None:
    """Raises ConfigError for a variable that should be a whole number: Lightning ends in a traceback as it is imported."""
    for name in COUNTS:
        value = os.environ.get(name)
        if value is not None and not (value.isascii() and value.isdigit()):
            raise ConfigError(
                f"{name}={value[:80]}: expected a whole number from 0, as launchers of several processes set it. Correct it, "
                f"or remove it from the environment: unset {name}."
            )
