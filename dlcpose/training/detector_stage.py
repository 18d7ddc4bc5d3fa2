"""The detector of a top-down model, trained before its poses as `pipeline=detection` would train it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.config.compose import compose

if TYPE_CHECKING:
    from dlcpose.build import Instantiator
    from dlcpose.checkpoint import Description
    from dlcpose.datasets.base import LabelledFrames
    from dlcpose.pipelines.base import PoseModule

# What both runs have in common; all else is that of a detection run.
SHARED = ("seed", "trust", "dataset", "split", "input", "augmentation", "datamodule", "detector", "evaluation")


def train_detector(
    config: dict[str, Any],
    instantiate: "Instantiator",
    pipeline: "PoseModule",
    data: "LabelledFrames",
    description: "Description",
    resumed: Path | None = None,
) -> None:
    """Train the detector that a pipeline's poses stand on, and put its weights there; nothing where it has them already.

    Its run lies in the folder `detector` of the run's own. What is kept is its best epoch, where checkpoints are.
    resumed: a checkpoint of the detector's run to go on from.
    """
    from dataclasses import replace

    import pytorch_lightning as lightning
    from pytorch_lightning.utilities import rank_zero_only

    from dlcpose.build import Trunk, build_pipeline
    from dlcpose.detectors.base import Detector
    from dlcpose.pipelines.detection import Detection
    from dlcpose.training.experiment import run

    detector = getattr(pipeline, "detector", None)
    is_its_own_run = isinstance(pipeline, Detection)
    if is_its_own_run or not isinstance(detector, Detector) or not detector.learns or config["detector"]["checkpoint"]:
        return
    settings = detection_config(config)
    say = rank_zero_only(print)
    say(f"first the detector, in {settings['run_dir']}")
    detection = build_pipeline(
        settings,
        instantiate,
        Trunk(None, None),
        skeleton=description.skeleton,
        model_input=description.model_input,
        max_animals=description.max_animals,
        to_train=True,
    )
    assert isinstance(detection, Detection)
    if config["init_from"] is not None:  # it goes on from the detector of that run
        detection.detector.load_state_dict(detector.state_dict())
    run(settings, instantiate, detection, data, replace(description, config=settings), resumed)
    best = Path(settings["run_dir"]) / "checkpoints" / "best.ckpt"
    if best.exists():
        detector.load(best)
    else:
        detector.load_state_dict(detection.detector.state_dict())
    # The poses are then trained as they would be on a detector that was trained elsewhere.
    lightning.seed_everything(config["seed"], workers=True, verbose=False)
    say(f"now the poses, in {config['run_dir']}")


def detection_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config of the detector's own run: that of `pipeline=detection`, on the data and the trainer of another run.

    Loggers and callbacks are those of the other run that a detector has a use for.
    """
    training, folder = config["detector"]["training"], str(Path(config["run_dir"]) / "detector")
    alone = compose(["pipeline=detection", f"optimizer.lr={training['lr']}"], run_dir=folder)
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
