"""One process at a time in a run folder: two that resumed one run would write over each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlcpose.runs.run_json import TakenError

LOCK = ".lock"


@contextmanager
def alone_in_run(run_dir: Path) -> Iterator[None]:
    """Hold a run folder, which is made where it is missing, for as long as this process trains in it.

    Raises TakenError where another process, still running, holds it. A process that was killed holds nothing, nor do the
    workers that it has left. Where the disk or the system has no locks, nothing is held.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = run_dir / LOCK
    with path.open("a") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not path.exists() or path.stat().st_ino != os.fstat(lock.fileno()).st_ino:
                raise BlockingIOError("the process that held it has just ended")
        except (BlockingIOError, PermissionError):
            raise TakenError(
                f"{run_dir}: another process is training in this folder. Wait for it, or stop it first; a run of its own "
                "needs another folder (hydra.run.dir=...)."
            ) from None
        except OSError:  # a network disk without locks
            pass
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
