"""Advice for trainings that run out of memory, are interrupted, or have batches too small for batch norm."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlcpose.config.folders import LAST_CHECKPOINT
from dlcpose.structures.errors import ConfigError, DlcposeError, Stopped

# Messages of torch: for a GPU, for memory on the CPU, and for a process that prepares batches.
DEVICE = re.compile(r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
WORKER = re.compile(
    r"DataLoader worker .*(killed by signal: (Killed|Bus error)|exited unexpectedly)|DataLoader timed out after",
    re.DOTALL,
)


class MemoryRunOutError(DlcposeError):
    """The device or the machine has less memory than the settings ask for."""


@contextmanager
def explain_memory(config: Mapping[str, Any], batch_size: int) -> Iterator[None]:
    """Within it, an out-of-memory error becomes a MemoryRunOutError that says which settings to lower.

    batch_size: frames of a step on each device.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        said = " ".join(str(error).split())
        if WORKER.search(said):
            settings = config["datamodule"]
            raise MemoryRunOutError(
                "out of memory in a process that prepares batches, or no room for a batch in /dev/shm (docker: "
                "--shm-size=2g). Lower datamodule.workers (0 needs none) or "
                f"datamodule.cache_gb (now {settings['cache_gb']:g}), then go on with resume=last."
            ) from error
        if isinstance(error, MemoryError) or is_out_of_memory(error):
            raise MemoryRunOutError(f"out of memory ({said[:120]}). {_advice(config, batch_size)}") from error
        raise


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch raised it since a device, or the machine, has no memory left."""
    return DEVICE.search(str(error)) is not None


@contextmanager
def interruptible(run_dir: Path, resumed_by: str = "resume=last") -> Iterator[None]:
    """Within it, an immediate Ctrl-C raises Stopped, which says what the run has saved, and by what it is resumed."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as end:
        # Lightning makes a silent SystemExit of an interrupt, with another code.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        last = run_dir / LAST_CHECKPOINT
        raise Stopped(
            f"What is saved is {last}. Go on with {resumed_by}" if last.exists() else "Nothing was saved yet"
        ) from None


def _advice(config: Mapping[str, Any], batch_size: int) -> str:
    """Settings to lower; for the batch size, values that keep the effective batch."""
    accumulated = config["trainer"].get("accumulate_grad_batches", 1)
    remedies = []
    if batch_size > 1:
        remedies.append(
            f"datamodule.batch_size={batch_size // 2} trainer.accumulate_grad_batches={2 * accumulated} (the same effective "
            "batch)"
        )
    sizes = {
        f"input.{key}": config["input"][key]
        for key in ("longest_side", "height")
        if isinstance((config.get("input") or {}).get(key), int)
    }
    remedies += [f"a smaller {name} (now {size})" for name, size in sizes.items()]
    if config["trainer"].get("precision") == "32-true":
        remedies.append("trainer.precision=bf16-mixed")
    remedies.append("a smaller backbone")
    return f"Try {', or '.join(remedies)}."


# torch's batch norm raises it where a layer sees one cell of one frame.
SINGLE_VALUE = re.compile(r"Expected more than 1 value per channel when training")


@contextmanager
def explain_batch_norm(batch_size: int) -> Iterator[None]:
    """Within it, batch norm's error for a single value becomes a ConfigError that says what to set instead."""
    try:
        yield
    except ValueError as error:
        if not SINGLE_VALUE.search(str(error)):
            raise
        few = f"datamodule.batch_size={batch_size}" if batch_size == 1 else "a batch of one frame"
        remedy = "datamodule.batch_size=2 or more" if batch_size == 1 else "more frames to train on"
        raise ConfigError(
            f"{few}: a layer of this model normalizes over its batch, and sees a single value there, of which there is no "
            f"spread. Take {remedy}."
        ) from error
