"""Where the programs begin: Ctrl-C is one line also while they are still imported."""

import importlib
import os
import signal


def dlcpose() -> None:
    """`dlcpose`."""
    _start("dlcpose.cli.app")


def train() -> None:
    """`dlcpose-train` and train.py."""
    _start("dlcpose.cli.train")


def evaluate() -> None:
    """`dlcpose-evaluate` and evaluate.py."""
    _start("dlcpose.cli.evaluate")


def predict() -> None:
    """`dlcpose-predict`."""
    _start("dlcpose.cli.predict_sweep")


def _start(module: str) -> None:
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not so in the background of a script
    if is_heeded:
        signal.signal(signal.SIGINT, _stop_at_once)
    main = importlib.import_module(module).main
    if is_heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:  # before a command has begun: each tells itself what it has saved
        _stop_at_once()


def _stop_at_once(*_: object) -> None:
    os.write(2, b"dlcpose: stopped.\n")  # nothing has begun, and an import that is left midway may print a traceback
    os._exit(130)
