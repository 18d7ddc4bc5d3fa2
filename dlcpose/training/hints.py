"""What a training that fails for want of memory, or of a larger batch, should set instead."""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlcpose.config.folders import LAST_CHECKPOINT
from dlcpose.structures.errors import ConfigError, DlcposeError

# As torch says it of a GPU, of its own memory on the CPU, and of a process that prepares batches.
DEVICE = re.compile(r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
WORKER = re.compile(
    r"DataLoader worker .*(killed by signal: (Killed|Bus error)|exited unexpectedly)|DataLoader timed out after",
    re.DOTALL,
)


class MemoryRunOutError(DlcposeError):
    """The device or the machine has less memory than the settings ask for."""


@contextmanager
def explain_memory(config: Mapping[str, Any]) -> Iterator[None]:
    """Training within which an error for want of memory becomes a MemoryRunOutError that says what to lower."""
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
        if isinstance(error, MemoryError) or DEVICE.search(said):
            raise MemoryRunOutError(f"out of memory ({said[:120]}). {_advice(config)}") from error
        raise


@contextmanager
def interruptible(run_dir: Path) -> Iterator[None]:
    """Training that Ctrl-C, where it is not waited for what can be saved, ends in one line and with exit code 130."""
    try:
        yield
    except SystemExit as end:
        if not isinstance(end.__context__, KeyboardInterrupt):
            raise
        # Lightning has taken the interrupt, and ends the process with another code and without a word.
        last = run_dir / LAST_CHECKPOINT
        saved = f"What is saved is {last}. Go on with resume=last" if last.exists() else "Nothing was saved yet"
        print(f"dlcpose: stopped. {saved}.", file=sys.stderr, flush=True)
        raise SystemExit(130) from None


def _advice(config: Mapping[str, Any]) -> str:
    """What to lower, with numbers where halving the batch leaves the training as it was."""
    batch, accumulated = config["datamodule"]["batch_size"], config["trainer"].get("accumulate_grad_batches", 1)
    remedies = []
    if batch > 1:
        remedies.append(
            f"datamodule.batch_size={batch // 2} trainer.accumulate_grad_batches={2 * accumulated} (the same effective batch)"
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


# As torch's batch-norm says it, where a layer sees one cell of one frame.
SINGLE_VALUE = re.compile(r"Expected more than 1 value per channel when training")


@contextmanager
def explain_batch_norm(config: Mapping[str, Any]) -> Iterator[None]:
    """Training within which batch-norm's refusal of a single value becomes a ConfigError that says what to take."""
    try:
        yield
    except ValueError as error:
        if not SINGLE_VALUE.search(str(error)):
            raise
        size = config["datamodule"]["batch_size"]
        few = f"datamodule.batch_size={size}" if size == 1 else "a batch of one frame"
        remedy = "datamodule.batch_size=2 or more" if size == 1 else "more frames to train on"
        raise ConfigError(
            f"{few}: a layer of this model normalizes over its batch, and sees a single value there, of which there is no "
            f"spread. Take {remedy}."
        ) from error
