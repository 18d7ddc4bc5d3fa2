"""One process of several that train a run together: `python -m dlcpose.training.worker FILE`."""

import json
import logging.config
import os
import sys
from pathlib import Path

from dlcpose.callbacks.requeue import requeue_on_signal
from dlcpose.config.messages import explain, log_printably
from dlcpose.runs.distributed import RankError, take_over
from dlcpose.runs.run_json import is_worker_process
from dlcpose.structures.interrupts import end_with
from dlcpose.training.train import train_in_this_process


def main() -> None:
    """Train the config that the parent process has composed, and write the result beside it."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    handed = Path(sys.argv[1])
    # Not parse_json: the parent process has just written it, of a config of any size.
    content = json.loads(handed.read_text(encoding="utf-8"))
    take_over(content)
    end_with(content["parent"])
    errors = get_error_handler()
    errors.initialize()
    if content["logging"] is not None and not is_worker_process():  # rank 0 logs what a single process would
        logging.config.dictConfig(content["logging"])
        log_printably()
    try:
        with requeue_on_signal(is_first=not is_worker_process()):
            value = train_in_this_process(content["config"])
    except Exception as error:
        if (reason := explain(error, "train", ())) is None:
            errors.record_exception(error)
            raise
        errors.record_exception(RankError(reason))
        raise SystemExit(1) from error
    if os.environ["RANK"] == "0":
        handed.with_suffix(".result").write_text(json.dumps(value), encoding="utf-8")


if __name__ == "__main__":
    main()
