"""`python killed.py FOLDER SIGNAL KILLS OVERRIDES...`: the same run twice, once straight, once stopped again and again.

Each attempt is a process of its own, which the signal really ends; they are forked from one in which torch is imported,
because importing takes longer than training. `straight` and `stopped` in FOLDER are the two runs.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import dlcpose
import dlcpose.predict
import dlcpose.training.experiment


def attempt(run_dir: Path, overrides: list[str]) -> int:
    """Begin to train, or go on, in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
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


def warmed_up(folder: Path, overrides: list[str]) -> None:
    """What is imported late is imported once, here."""
    dlcpose.train(*overrides, "trainer.max_epochs=1", run_dir=folder / "warm")


def main() -> None:
    folder, number, kills, overrides = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    warmed_up(folder, overrides)
    began = time.monotonic()
    assert ended(attempt(folder / "straight", overrides)) == 0
    whole = time.monotonic() - began
    rng = random.Random(0)
    for _ in range(kills):
        child = attempt(folder / "stopped", overrides)
        time.sleep(rng.uniform(0.0, 0.5 * whole))
        os.kill(child, number)
        code = ended(child)
        print(f"ended with {code}", flush=True)
        assert code in (0, -number, 128 + number), code
    assert ended(attempt(folder / "stopped", overrides)) == 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    main()
