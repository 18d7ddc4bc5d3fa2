"""`evaluate.py` and `dlcpose-evaluate`: figures of a checkpoint."""

from typing import Any

from dlcpose.cli.hydra_main import run_hydra
from dlcpose.structures.interrupts import stopped_at_once


def main() -> None:
    """Evaluate the checkpoint that the shell names."""
    run_hydra("evaluate", evaluate)


def evaluate(config: dict[str, Any]) -> dict[str, float]:
    """Evaluate config["checkpoint"] and leave everything in config["run_dir"]/evaluation."""
    with stopped_at_once():
        from dlcpose.training.evaluation import evaluate_checkpoint  # torch is imported once the config composes

    return evaluate_checkpoint(config)
