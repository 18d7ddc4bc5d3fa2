"""The system that a process runs on: cores, memory, other processes, and variables that libraries read as numbers."""

import hashlib
import os
import sys
from pathlib import Path

from dlcpose.structures.errors import ConfigError

MAX_COUNT = 2**32 - 1  # job ids of SLURM have 32 bits, whose upper ones tell clusters of a federation apart
MAX_PORT = 2**16 - 1
# As torchrun, SLURM and jsrun set them.
_FROM_0 = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "JSM_NAMESPACE_RANK", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_RESTART_COUNT"),
    *("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"),
)
_FROM_1 = (
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES"),
)
# Variables that hold whole numbers, with the least and the largest.
COUNTS = {
    **dict.fromkeys(_FROM_0, (0, MAX_COUNT)),
    **dict.fromkeys(_FROM_1, (1, MAX_COUNT)),
    "MASTER_PORT": (1, MAX_PORT),
}


def cpu_cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_mb() -> float:
    """The most memory that this process has held so far, in MiB."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def whole_memory() -> int | None:
    """The memory of this machine in bytes; None where the system does not say."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.virtual_memory().total)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in os.sysconf_names else None


def is_running(process: int) -> bool:
    """Whether there is a process of this number on this machine, of whoever it is."""
    if sys.platform == "win32":  # where os.kill(process, 0) is Ctrl-C to all that share the console
        import psutil

        return bool(psutil.pid_exists(process))
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def system_identity() -> str:
    """8 hexadecimal digits of the running system whose process numbers these are; all 0 where it does not tell.

    Linux tells when it was started and which namespace of process numbers this is: containers that share a host's name, and
    often a disk, each count their processes from 1.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        identity = f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "0" * 8
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def check_environment() -> None:
    """Raises ConfigError for a variable that should be a whole number: Lightning ends in a traceback as it is imported."""
    for name, (least, largest) in COUNTS.items():
        value = os.environ.get(name)
        if value is None:
            continue
        is_whole = value.isascii() and value.isdigit() and len(value) <= len(str(MAX_COUNT))
        if not is_whole or not least <= int(value) <= largest:
            raise ConfigError(
                f"{name}={value[:80]}: expected a whole number from {least} to {largest}, as launchers of several processes "
                f"set it. Correct it, or remove it from the environment: unset {name}."
            )


def count_of(name: str) -> int:
    """The whole number that a launcher has set beside others. Raises ConfigError where it has not."""
    check_environment()
    if name not in os.environ:
        raise ConfigError(
            f"{name}: expected a whole number in the environment, as a launcher sets it for each of several processes, got "
            "none. Start them by torchrun or srun, or remove its other variables (TORCHELASTIC_RUN_ID, SLURM_...)."
        )
    return int(os.environ[name])
