"""TensorBoard with the config as text from the start, and as hyperparameters beside the figures they led to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from dlcpose.loggers.base import ExperimentTracker
from dlcpose.structures.data_files import as_yaml
from dlcpose.structures.sample import Image


class TensorBoardTracker(ExperimentTracker, TensorBoardLogger):
    """Scalars, pictures and texts in event files, and what TensorBoard's HParams page compares runs by.

    run_dir: of the run, whose folder `tensorboard` has the files.

    Of a resumed run, TensorBoard drops earlier values of the steps that are repeated.
    """

    def __init__(self, run_dir: str | Path) -> None:
        super().__init__(run_dir, name="tensorboard", version="", default_hp_metric=False)
        self.first_step = 0

    def start_at(self, step: int) -> None:
        self.first_step = step
        self._kwargs["purge_step"] = step  # of the SummaryWriter that is made at its first use

    @rank_zero_only
    def begin(self, facts: Mapping[str, Any]) -> None:
        for name, content in facts.items():
            text = as_yaml(content) if isinstance(content, Mapping | list) else str(content)
            # Four spaces make it a block of code on the page.
            self.experiment.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()), self.first_step)
        self.experiment.flush()

    @rank_zero_only
    def show(self, name: str, picture: Image, step: int) -> None:
        self.experiment.add_image(name, picture, step, dataformats="HWC")

    @rank_zero_only
    def end(self, facts: Mapping[str, Any], figures: Mapping[str, float], run_dir: Path) -> None:
        # Only now: the page shows a run's metrics where they are given together with its hyperparameters.
        self.log_hyperparams(dict(facts["config"]), dict(figures), step=0)
        self.finalize("success")
