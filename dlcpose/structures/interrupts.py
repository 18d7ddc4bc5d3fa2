"""Ctrl-C while modules are imported, when a command has nothing to save yet."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """Within it Ctrl-C ends this process in one line; for imports that may catch an interrupt, or print a traceback.

    Where it is ignored, as in the background of a script, or handled by somebody else, it stays so.
    """
    is_main = threading.current_thread() is threading.main_thread()  # no other may set a handler
    is_heeded = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heeded:
        signal.signal(signal.SIGINT, stop_at_once)
    try:
        yield
    finally:
        if is_heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def stop_at_once(*_: Any) -> None:
    """End this process with one line and the exit code of an interrupted one."""
    os.write(2, b"dlcpose: stopped.\n")
    os._exit(130)
