"""`python killed_prediction.py KILLS STRAIGHT STOPPED ARGUMENTS...`: `dlcpose predict` killed again and again.

Once straight into one folder, and into another killed KILLS times and let go the last time. Each attempt is a process of
its own, which SIGKILL really ends; they are forked from one in which torch is imported, because importing takes longer than
predicting. Stretches are written after every batch, so that there is something to go on with.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import dlcpose.cli.app
import dlcpose.predict
import dlcpose.prediction.partial_results


def attempt(arguments: list[str]) -> int:
    """Run the command in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sys.argv = ["dlcpose", "predict", *arguments]
        dlcpose.prediction.partial_results.SECONDS = 0.0
        dlcpose.cli.app.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def ended(child: int) -> int:
    """Wait for a process; its exit code, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def stretches(folder: Path) -> int:
    """How many stretches of finished frames lie in a folder."""
    return len(list(folder.glob("*.partial/*.npz")))


def killed(child: int, folder: Path, more: int, rng: random.Random) -> int:
    """Kill a process somewhat after it has written so many more stretches, unless it is done before; its exit code."""
    target_count = stretches(folder) + more
    while stretches(folder) < target_count:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    time.sleep(rng.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    return ended(child)


def main() -> None:
    kills, straight, stopped, arguments = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:]
    assert ended(attempt([*arguments, "--output", straight])) == 0
    rng = random.Random(kills)
    again = [*arguments, "--output", str(stopped)]
    for _ in range(kills):
        code = killed(attempt(again), stopped, rng.randint(0, 12), rng)
        print(f"ended with {code}, {stretches(stopped)} stretches", flush=True)
        assert code in (0, -signal.SIGKILL), code
    assert ended(attempt(again)) == 0


if __name__ == "__main__":
    main()
