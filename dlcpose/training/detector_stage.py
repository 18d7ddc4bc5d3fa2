"""The config of the first stage of a top-down model: its detector's own run."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlcpose.config.folders import DETECTOR_FOLDER


def detector_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the detector's run: that of the poses, with the keys of config["detector_stage"] in place of theirs.

    It keeps only those of its callbacks that the poses' run has too: what is left out of a run (`callbacks=[progress]`)
    is left out of its detector's. A max_epochs below 1 is a share of the poses' epochs, rounded up.
    """
    own = config["detector_stage"]
    trainer = {name: value for name, value in own["trainer"].items() if value is not None}
    if isinstance(share := trainer.get("max_epochs"), float):
        trainer["max_epochs"] = _share_of_epochs(share, config["trainer"].get("max_epochs"))
    return {
        **config,
        **own,
        "trainer": {**config["trainer"], **trainer},
        "callbacks": {name: node for name, node in own["callbacks"].items() if name in config["callbacks"]},
        "detector_stage": {},
        "unlabeled": {},
        "pseudo_labels": {},
        "run_dir": str(Path(config["run_dir"]) / DETECTOR_FOLDER),
    }


def _share_of_epochs(share: float, epochs: int | None) -> int | None:
    """So many of the poses' epochs; those of a run that ends otherwise (None, -1) are as many for its detector."""
    return epochs if epochs is None or epochs < 1 else math.ceil(share * epochs)
