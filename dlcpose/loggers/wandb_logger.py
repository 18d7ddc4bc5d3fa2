"""Weights & Biases, online or as a folder that `wandb sync` sends later."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from dlcpose.loggers.base import ExperimentTracker
from dlcpose.structures.sample import Image

KEPT = ("checkpoints/best.ckpt", "environment.txt", "split.json", "evaluation/metrics.json", "evaluation/report.html")


class WandbTracker(ExperimentTracker, WandbLogger):
    """Metrics, pictures, config and final figures; at the end the best checkpoint and the report as an artifact.

    run_dir, run_name, sweep_name: of the run; wandb's own files go to wandb/ in it, and it groups the jobs of a sweep.
    offline: neither network nor key is needed. checkpoint: whether the artifact is made. A resumed run keeps its id.
    """

    def __init__(
        self,
        run_dir: str | Path,
        run_name: str,
        sweep_name: str | None = None,
        *,
        project: str,
        offline: bool = False,
        checkpoint: bool = True,
    ) -> None:
        # Given to wandb.init itself: Lightning's `offline` would set it for every later run of the process.
        super().__init__(
            run_name,
            run_dir,
            version=_earlier_id(Path(run_dir)),
            project=project,
            group=sweep_name,
            mode="offline" if offline else None,
        )
        self._wandb_init.pop("anonymous", None)  # wandb warns of a setting that Lightning gives and nobody asked for
        self.checkpoint = checkpoint

    @rank_zero_only
    def begin(self, facts: Mapping[str, Any]) -> None:
        rest = {name: value for name, value in facts.items() if name != "config"}
        self.experiment.config.update({**facts["config"], "dlcpose": rest}, allow_val_change=True)

    @rank_zero_only
    def show(self, name: str, picture: Image, step: int) -> None:
        self.log_image(name, [picture], step=step)

    @rank_zero_only
    def end(self, facts: Mapping[str, Any], figures: Mapping[str, float], run_dir: Path) -> None:
        import wandb

        run = self.experiment
        run.summary.update(dict(figures))
        if not self.checkpoint:
            return
        known = {name: value for name, value in figures.items() if math.isfinite(value)}  # JSON has no other numbers
        artifact = wandb.Artifact(f"{run.id}-run", type="model", metadata=known)
        for path in (run_dir / name for name in KEPT):
            if path.is_file():
                # "immutable": the file is read where it lies, else it would be copied to the user's home until it is sent.
                artifact.add_file(str(path), policy="immutable")
        run.log_artifact(artifact)

    @rank_zero_only
    def close(self, succeeded: bool) -> None:
        # The next job of a sweep would go on in the same wandb run.
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if succeeded else 1)


def _earlier_id(folder: Path) -> str | None:
    """The id of the youngest run that wandb has kept in a folder: offline-run-<date>_<time>-<id>, or run-..."""
    kept = sorted(folder.glob("wandb/*run-*-*"), key=lambda path: path.stat().st_mtime)
    return kept[-1].name.rpartition("-")[2] if kept else None
