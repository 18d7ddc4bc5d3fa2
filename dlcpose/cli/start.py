"""Where the programs begin: a signal that ends them is one line also while they are still imported."""

import importlib

from dlcpose.structures.interrupts import ended_like_ctrl_c, received, stop_at_once, stopped_at_once


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
    with ended_like_ctrl_c():
        with stopped_at_once():
            main = importlib.import_module(module).main
        try:
            main()
        except KeyboardInterrupt:  # before a command has begun: each tells itself what it has saved
            stop_at_once(received())
