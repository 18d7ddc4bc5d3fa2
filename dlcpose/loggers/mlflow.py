"""MLflow: a SQLite store in the run folder, or any other store or server that its address names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning.loggers import MLFlowLogger
from pytorch_lightning.utilities import rank_zero_only

from dlcpose.loggers.tracker import Tracker
from dlcpose.structures.sample import Image

KEPT = (
    *("environment.txt", "split.json", "evaluation/metrics.json", "evaluation/per_keypoint.csv"),
    "evaluation/report.html",
)
CHECKPOINT = "checkpoints/best.ckpt"


class MlflowTracker(Tracker, MLFlowLogger):
    """Metrics, parameters, pictures; the config, the report and the best checkpoint as artifacts.

    save_dir: the run folder. tracking_uri: a server's address or a store of MLflow's, which then knows where artifacts
    go; null is mlflow.db in the run folder, with artifacts in mlflow/ beside it. checkpoint: whether it is kept there.
    """

    def __init__(
        self,
        save_dir: str,
        *,
        experiment_name: str,
        run_name: str,
        tracking_uri: str | None = None,
        checkpoint: bool = True,
    ) -> None:
        super().__init__(
            experiment_name,
            run_name,
            tracking_uri=tracking_uri or f"sqlite:///{save_dir}/mlflow.db",
            artifact_location=None if tracking_uri else f"{save_dir}/mlflow",
        )
        self.checkpoint = checkpoint

    @rank_zero_only
    def begin(self, facts: Mapping[str, Any]) -> None:
        self.log_hyperparams(dict(facts["config"]))
        client, run_id = self.experiment, self.run_id
        for name in ("config", "overrides", "environment"):
            client.log_text(run_id, yaml.safe_dump(facts[name], sort_keys=False), f"{name}.yaml")
        client.set_tag(run_id, "mlflow.source.git.commit", facts["git"])

    @rank_zero_only
    def show(self, name: str, picture: Image, step: int) -> None:
        self.experiment.log_image(self.run_id, picture, key=name.replace("/", "_"), step=step)

    @rank_zero_only
    def end(self, facts: Mapping[str, Any], figures: Mapping[str, float], run_dir: Path) -> None:
        self.log_metrics(figures)
        for name in KEPT + ((CHECKPOINT,) if self.checkpoint else ()):
            path, folder = run_dir / name, str(Path(name).parent)
            if path.is_file():
                self.experiment.log_artifact(self.run_id, str(path), None if folder == "." else folder)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # MLflow's names have no @, and Lightning would leave it out: pck@0.1 and pck0.1 would be the same.
        super().log_metrics({name.replace("@", "_at_"): value for name, value in metrics.items()}, step)
