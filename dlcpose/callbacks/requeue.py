"""Requeue a SLURM job when SLURM signals that it will soon be stopped."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 20  # seconds that another process of the job waits for the first one to requeue it


@contextmanager
def requeue_on_signal(*, is_first: bool) -> Iterator[None]:
    """Within it, SIGUSR1 ends a command that runs as a SLURM job and has the job requeued, whatever it is doing.

    While it trains, PreemptionCheckpoint takes the signal instead, and saves first. is_first: whether this process is the
    first of those that share a run; the others do not requeue, and end after it. Outside of SLURM nothing is changed.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if sys.platform == "win32" or "SLURM_JOB_ID" not in os.environ or not is_main:
        yield
        return

    def end(number: int, frame: Any) -> None:
        if not is_first:
            signal.alarm(PATIENCE)  # srun ends all processes with the first that ends: not this one
            return
        signal.signal(number, signal.SIG_IGN)
        print("dlcpose: stopped by SIGUSR1, the job is queued again.", file=sys.stderr, flush=True)
        requeue()
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGUSR1, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def requeue() -> None:
    """Ask SLURM to requeue this job; a failure is printed."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]
    try:
        code = subprocess.run(["scontrol", "requeue", job], check=False).returncode
    except OSError as error:
        code = error.errno or 1
    if code:
        print(f"dlcpose: scontrol requeue {job} failed ({code}): submit the job again.", file=sys.stderr)
