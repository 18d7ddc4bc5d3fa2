"""Signals that end a command: Ctrl-C, SIGTERM (`kill`, a machine that shuts down), SIGHUP (a terminal that was closed)."""

import functools
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LIKE_CTRL_C = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _Interrupt:
    """A handler of signals that raises KeyboardInterrupt, and remembers which signal it was.

    It ends processes that are forked from this one.
    """

    received: signal.Signals = signal.SIGINT

    def __init__(self) -> None:
        self.process, self.terminals = os.getpid(), terminals()
        _Interrupt.received = signal.SIGINT

    def __call__(self, number: int, frame: Any) -> None:
        if os.getpid() != self.process:
            os._exit(128 + number)
        if number != signal.SIGTERM:
            leave(self.terminals)
        _Interrupt.received = signal.Signals(number)
        raise KeyboardInterrupt


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, so that unfinished files are removed.

    One that is ignored, as SIGHUP by `nohup`, or handled by somebody else, stays so.
    """
    is_main = threading.current_thread() is threading.main_thread()  # no other may set a handler
    heeded = [number for number in LIKE_CTRL_C if is_main and signal.getsignal(number) == signal.SIG_DFL]
    interrupt = _Interrupt()
    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


def received() -> signal.Signals:
    """The signal that has interrupted this process; Ctrl-C's unless it was another one."""
    return _Interrupt.received


def terminals() -> list[int]:
    """Which of the outputs are shown by a terminal."""
    return [number for number in (1, 2) if os.isatty(number)]


def leave(outputs: Sequence[int]) -> None:
    """Write no more to terminals that were closed: it would be an error, in the midst of what is saved."""
    for number in outputs:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """Within it Ctrl-C, and what `ended_like_ctrl_c` makes of other signals, ends this process in one line.

    For imports, which may catch an interrupt or print a traceback, when a command has nothing to save yet. Where Ctrl-C is
    ignored, as in the background of a script, or handled by somebody else, it stays so.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *LIKE_CTRL_C)} if is_main else {}
    heeded = [
        number
        for number, handler in before.items()
        if handler is signal.default_int_handler or isinstance(handler, _Interrupt)
    ]
    for number in heeded:
        signal.signal(number, stop_at_once)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def stop_at_once(number: int = signal.SIGINT, *_: Any) -> None:
    """End this process with one line and the exit code of one that the signal ended."""
    os.write(2, b"dlcpose: stopped.\n")
    os._exit(128 + number)


def leave_ctrl_c_to(parent: int) -> None:
    """Ignore Ctrl-C, which a terminal sends to all processes of a command, and end with the parent, which heeds it.

    A job that heeded it would tell of a run that it saves, and not live to save it.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)


@functools.cache  # one thread of a process is enough for all jobs that it is given
def end_with(parent: int) -> None:
    """End this process when its parent has ended, however that ends."""
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
