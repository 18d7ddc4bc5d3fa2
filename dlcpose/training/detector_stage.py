"""The config of the first stage of a top-down model: its detector, trained as `model=detection` trains it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlcpose.config.compose import compose
from dlcpose.runs.resume import DETECTOR_FOLDER

# What both stages have in common; all else is that of a detection run.
SHARED = ("seed", "trust", "dataset", "split", "augmentation", "datamodule", "detector", "evaluation")


def detector_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the detector's own run: that of `model=detection`, on the data and the trainer of another run.

    Loggers and callbacks are those of the other run that a detector has a use for.
    """
    training, folder = config["detector"]["training"], str(Path(config["run_dir"]) / DETECTOR_FOLDER)
    alone = compose(["model=detection", "input=native", f"optimizer.lr={training['lr']}"], run_dir=folder)
    name = f"{config['name']}_detector"
    return {
        **alone,
        **{key: config[key] for key in SHARED},
        "name": name,
        "trainer": {**config["trainer"], "max_epochs": training["epochs"] or config["trainer"]["max_epochs"]},
        "metric": {"boxes": {**alone["metric"]["boxes"], "boxes": config["detector"]["boxes"]}},
        "callbacks": {key: node for key, node in alone["callbacks"].items() if key in config["callbacks"]},
        "logger": _renamed(config["logger"], config["name"], name),
    }


def _renamed(node: Any, name: str, other: str) -> Any:
    """A config in which every text that is a name is another."""
    if isinstance(node, dict):
        return {key: _renamed(value, name, other) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value, name, other) for value in node]
    return other if node == name else node
