"""The memory by which processes that prepare batches hand them over: /dev/shm, which containers keep small."""

import logging
import os
import shutil
from pathlib import Path

from dlcpose.structures.counted import counted

logger = logging.getLogger(__name__)

SHARED = Path("/dev/shm")
PREPARED = 2  # batches that a worker prepares ahead, as torch's DataLoader has it


def affordable_workers(workers: int, batch_bytes: int) -> int:
    """At most `workers`, with a warning where /dev/shm has room for the batches of fewer. batch_bytes: of one batch.

    A batch that does not fit is lost there without an error, and the run would wait for it. Where there is no /dev/shm,
    as on other systems than Linux, it is not what counts.
    """
    if workers == 0 or not SHARED.is_dir():
        return workers
    room = shutil.disk_usage(SHARED).free if os.access(SHARED, os.W_OK) else 0
    affordable = min(workers, max(0, room // max(1, batch_bytes) - 1) // PREPARED)  # one is being trained on
    if affordable < workers:
        logger.warning(
            "%s has room for %d MB, and a batch takes %d MB: %s batches instead of %d. Give it more "
            "(docker: --shm-size=2g), or lower datamodule.batch_size.",
            *(
                SHARED,
                room // 10**6,
                -(-batch_bytes // 10**6),
                counted(affordable, "process prepares", "processes prepare"),
                workers,
            ),
        )
    return affordable
