"""Signals that end a command: Ctrl-C, SIGTERM (`kill`, a machine that shuts down), SIGHUP (a terminal that was closed)."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager

TYPE_CHECKING = False  # typing takes long to import, and Ctrl-C meanwhile is a traceback
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType
    from typing import Any

IMPORTER = "<frozen importlib._bootstrap"  # what the names of its files begin with
AGAIN = 0.02  # seconds
LIKE_CTRL_C = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _Interrupt:
    """A handler of signals that raises KeyboardInterrupt, and remembers which signal it was.

    Not in the midst of an import but after it: modules catch an interrupt, abort the process, or stay half made and end in
    another error. A second signal meanwhile ends the process at once. SIGTERM and SIGHUP end processes that are forked
    from this one.
    """

    received: signal.Signals = signal.SIGINT

    def __init__(self) -> None:
        self.process, self.terminals = os.getpid(), terminals()
        self.is_waiting = self.is_repeated = False
        _Interrupt.received = signal.SIGINT

    def __call__(self, number: int, frame: FrameType | None) -> None:
        is_forked, is_repeated, self.is_repeated = os.getpid() != self.process, self.is_repeated, False
        if is_forked and number != signal.SIGINT:
            os._exit(128 + number)
        if not is_forked and _is_importing(frame):
            if self.is_waiting and not is_repeated:
                stop_at_once(number)
            self.is_waiting = True
            threading.Thread(target=self._repeat, args=(number,), daemon=True).start()
            return
        self.is_waiting = False
        if number not in (signal.SIGINT, signal.SIGTERM):
            leave(self.terminals)
        _Interrupt.received = signal.Signals(number)
        raise KeyboardInterrupt

    def _repeat(self, number: int) -> None:
        """Send a signal again when the main thread imports no more."""
        main = threading.main_thread().ident
        while _is_importing(sys._current_frames().get(main or 0)):
            time.sleep(AGAIN)
        if self.is_waiting:
            self.is_repeated = True
            signal.raise_signal(number)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported above a frame."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORTER):
            return True
        frame = frame.f_back
    return False


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, so that unfinished files are removed.

    All three after an import that they interrupt. One that is ignored, as SIGHUP by `nohup`, or handled by somebody else,
    stays so.
    """
    is_main = threading.current_thread() is threading.main_thread()  # no other may set a handler
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *LIKE_CTRL_C)} if is_main else {}
    heeded = [number for number, handler in before.items() if handler in (signal.SIG_DFL, signal.default_int_handler)]
    interrupt = _Interrupt()
    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


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
