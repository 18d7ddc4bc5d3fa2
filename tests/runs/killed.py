"""`python killed.py FOLDER SIGNAL KILLS OVERRIDES...`: the same run twice, once straight, once stopped again and again.

Each attempt is a process of its own, which the signal really ends; they are forked from one in which torch is imported,
because importing takes longer than training. `straight` and `stopped` in FOLDER are the two runs. The moments are random
numbers of training steps, and a random part of a second after them: a number of seconds alone would be over before the
first step on a slow machine, and after the last one on a quick one.
"""

import mmap
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import dlcpose
import dlcpose.predict
import dlcpose.training.experiment
from dlcpose.pipelines.base import PoseEstimator

MAX_STEPS = 12  # of an attempt before it is stopped; far fewer than a run has, so that the first attempt never ends
MAX_SECONDS = 0.3  # after those steps: long enough to fall into a validation or a checkpoint's writing


class StepCount:
    """The training steps of an attempt, counted in memory that it shares with the process that stops it."""

    def __init__(self) -> None:
        self.shared = mmap.mmap(-1, 8)

    @property
    def steps(self) -> int:
        return int.from_bytes(self.shared[:8], "little")

    def count(self) -> None:
        """In an attempt's own process: add one at the end of each training step."""
        step = PoseEstimator.training_step

        def counted(pipeline: PoseEstimator, *given: Any) -> Any:
            loss = step(pipeline, *given)
            self.shared[:8] = (self.steps + 1).to_bytes(8, "little")
            return loss

        PoseEstimator.training_step = counted  # type: ignore[method-assign]


def attempt(run_dir: Path, overrides: list[str], counter: StepCount | None = None) -> int:
    """Begin to train, or go on, in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        if counter:
            counter.count()
        resume = ["resume=last"] if (run_dir / "run.json").exists() else []
        dlcpose.train(*overrides, *resume, run_dir=run_dir)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)


def ended(child: int) -> int:
    """Wait for a process; its exit code, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def stopped(child: int, number: int, counter: StepCount, steps: int, seconds: float) -> int:
    """Send a signal once so many steps were made and so many seconds have passed since; the exit code."""
    while counter.steps < steps:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:  # there were fewer steps left
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    time.sleep(seconds)
    os.kill(child, number)
    return ended(child)


def warmed_up(folder: Path, overrides: list[str]) -> None:
    """What is imported late is imported once, here."""
    dlcpose.train(*overrides, "trainer.max_epochs=1", run_dir=folder / "warm")


def main() -> None:
    folder, number, kills, overrides = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    warmed_up(folder, overrides)
    assert ended(attempt(folder / "straight", overrides)) == 0
    rng = random.Random(0)
    for _ in range(kills):
        counter = StepCount()
        child = attempt(folder / "stopped", overrides, counter)
        code = stopped(child, number, counter, rng.randint(0, MAX_STEPS), rng.uniform(0.0, MAX_SECONDS))
        print(f"ended with {code} after {counter.steps} steps", flush=True)
        assert code in (0, -number, 128 + number), code
    assert ended(attempt(folder / "stopped", overrides)) == 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    main()
