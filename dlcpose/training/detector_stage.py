"""The first stage of a top-down model: its detector, trained as `model=detection` trains it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.config.compose import compose

if TYPE_CHECKING:
    from dlcpose.build import Instantiator
    from dlcpose.checkpoint import Description
    from dlcpose.datasets.base import LabelledFrames
    from dlcpose.pipelines.base import PoseModule

# What both runs have in common; all else is that of a detection run.
SHARED = ("seed", "trust", "dataset", "split", "augmentation", "datamodule", "detector", "evaluation")


def train_detector(
    config: dict[str, Any],
    instantiate: "Instantiator",
    pipeline: "PoseModule",
    data: "LabelledFrames",
    description: "Description",
    resumed: Path | None = None,
) -> None:
    """Train a model's detector where that is one of its stages, and load the weights of its best epoch into the model.

    The detector's run lies in the folder `detector` of the run. resumed: a checkpoint of the detector's run to go on from.
    """
    from dataclasses import replace

    import pytorch_lightning as lightning
    from pytorch_lightning.utilities import rank_zero_only

    from dlcpose.build import build_pipeline
    from dlcpose.training.experiment import run

    detector = pipeline.detector
    if detector is None or "detector" not in pipeline.stages()[:-1]:
        return
    settings = detection_config(config)
    say = rank_zero_only(print)
    say(f"first the detector, in {settings['run_dir']}")
    description = replace(description, config=settings, model_input=pipeline.frame_input)
    detection = build_pipeline(settings, instantiate, description.data, to_train=True)
    assert detection.detector is not None
    if config["init_from"] is not None:  # it goes on from the detector of that run
        detection.detector.load_state_dict(detector.state_dict())
    run(settings, instantiate, detection, data, description, resumed)
    best = Path(settings["run_dir"]) / "checkpoints" / "best.ckpt"
    if best.exists():
        detector.load(best)
    else:
        detector.load_state_dict(detection.detector.state_dict())
    # The poses are then trained as they would be on a detector that was trained elsewhere.
    lightning.seed_everything(config["seed"], workers=True, verbose=False)
    say(f"now the poses, in {config['run_dir']}")


def detection_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config of the detector's own run: that of `model=detection`, on the data and the trainer of another run.

    Loggers and callbacks are those of the other run that a detector has a use for.
    """
    training, folder = config["detector"]["training"], str(Path(config["run_dir"]) / "detector")
    alone = compose(["model=detection", "input=native", f"optimizer.lr={training['lr']}"], run_dir=folder)
    name = f"{config['name']}_detector"
    renamed = {config["run_dir"]: folder, config["name"]: name}
    return {
        **alone,
        **{key: config[key] for key in SHARED},
        "name": name,
        "trainer": {**config["trainer"], "max_epochs": training["epochs"] or config["trainer"]["max_epochs"]},
        "metric": {"boxes": {**alone["metric"]["boxes"], "boxes": config["detector"]["boxes"]}},
        "callbacks": {key: node for key, node in alone["callbacks"].items() if key in config["callbacks"]},
        "logger": _renamed(config["logger"], renamed),
    }


def _renamed(node: Any, names: dict[str, str]) -> Any:
    """A config in which texts that begin with a name, or with a folder, begin with another."""
    if isinstance(node, dict):
        return {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value, names) for value in node]
    if isinstance(node, str):
        for name, other in names.items():
            if node == name or f"{name}/" in node:
                return node.replace(name, other, 1)
    return node
