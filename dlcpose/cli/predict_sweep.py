"""`dlcpose-predict`: many videos on many processes or machines, by Hydra's launchers."""

from pathlib import Path
from typing import Any

from dlcpose.cli.hydra_main import run_hydra


def main() -> None:
    """`dlcpose-predict`, and `python -m dlcpose.cli.predict_sweep`."""
    run_hydra("predict", predict)


SETTINGS = ("start", "stop", "step", "precision", "detector_every", "flip_test", "dynamic_crop")
KEYS = (*SETTINGS, "checkpoint", "video", "output", "device", "batch_size", "crop", "conditions", "trust", "overwrite")


def predict(config: dict[str, Any]) -> None:
    """Predict config["video"] into files, as `dlcpose predict` does."""
    from dlcpose.cli.predict import parse_batch_size, parse_crop, predict_videos
    from dlcpose.cli.prediction_inputs import find_inputs
    from dlcpose.prediction.settings import PredictionSettings
    from dlcpose.structures.errors import ConfigError
    from dlcpose.training.validate import check_keys

    check_keys(config, KEYS)
    given: dict[str, Any] = {name: config[name] for name in SETTINGS}
    given |= {"precision": str(config["precision"]), "batch_size": parse_batch_size(config["batch_size"])}
    settings = PredictionSettings(**given, crop=parse_crop(config["crop"]))
    names = config["video"] if isinstance(config["video"], list) else [config["video"]]
    output = None if config["output"] is None else Path(config["output"])
    found = find_inputs([str(name) for name in names], output)
    if found.images:
        raise ConfigError(f"video={config['video']}: expected videos, got images. Take `dlcpose predict` for those.")
    from dlcpose.predict import load
    from dlcpose.prediction.loaded_model import check_settings

    predictor = load(
        config["checkpoint"], device=config["device"], trust=config["trust"], conditions=config["conditions"]
    )
    check_settings(settings, predictor.pipeline)
    predict_videos(predictor, found.videos, settings, overwrite=config["overwrite"])


if __name__ == "__main__":
    main()
