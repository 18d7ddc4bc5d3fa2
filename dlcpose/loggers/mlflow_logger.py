"""MLflow: a SQLite store in the run folder, or any other store or server that its address names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas
from pytorch_lightning.loggers import MLFlowLogger
from pytorch_lightning.utilities import rank_zero_only

from dlcpose.loggers.base import ExperimentTracker
from dlcpose.structures.atomic_files import write_atomic
from dlcpose.structures.checked_values import Fields
from dlcpose.structures.data_files import as_yaml, read_json
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import Image

KEPT = (
    *("environment.txt", "split.json", "evaluation/metrics.json", "evaluation/per_keypoint.csv"),
    "evaluation/report.html",
)
CHECKPOINT = "checkpoints/best.ckpt"
MAX_RECORD = 2**20  # bytes
RECORD = "mlflow_run.json"  # in the run folder: the run's id, and its store


class MlflowTracker(ExperimentTracker, MLFlowLogger):
    """Metrics, parameters, pictures; the config, the report and the best checkpoint as artifacts.

    run_dir, run_name, sweep_name: of the run. experiment_name: what the run belongs to; null is its sweep, or else its own
    name. tracking_uri: a server's address or a store of MLflow's, which then decides where artifacts go; null is mlflow.db
    in the run folder, with artifacts in mlflow/ beside it. checkpoint: whether it is kept there. A resumed run keeps its
    id, and its first parameters: MLflow does not allow changes.
    """

    def __init__(
        self,
        run_dir: str | Path,
        run_name: str,
        sweep_name: str | None = None,
        *,
        experiment_name: str | None = None,
        tracking_uri: str | None = None,
        checkpoint: bool = True,
    ) -> None:
        super().__init__(
            experiment_name or sweep_name or run_name,
            run_name,
            tracking_uri=tracking_uri or f"sqlite:///{run_dir}/mlflow.db",
            artifact_location=None if tracking_uri else f"{run_dir}/mlflow",
            run_id=_earlier_id(Path(run_dir), tracking_uri),
        )
        self.checkpoint = checkpoint
        self.folder, self.store = Path(run_dir), tracking_uri

    @rank_zero_only
    def begin(self, facts: Mapping[str, Any]) -> None:
        known = self._gone_on_with()
        (parameters,) = pandas.json_normalize(dict(facts["config"]), sep="/").to_dict("records")
        self.log_hyperparams({str(name): value for name, value in parameters.items() if name not in known})
        client, run_id = self.experiment, self.run_id
        write_atomic(self.folder / RECORD, json.dumps({"tracking_uri": self.store, "run_id": run_id}))
        for name in ("config", "overrides", "environment"):
            client.log_text(run_id, as_yaml(facts[name]), f"{name}.yaml")
        client.set_tag(run_id, "mlflow.source.git.commit", facts["git"])

    def _gone_on_with(self) -> dict[str, str]:
        """The parameters of this folder's earlier run, which is set to running again; none without such a run."""
        from mlflow.exceptions import MlflowException

        if self._run_id is None:
            return {}
        try:
            earlier = self.experiment.get_run(self._run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            earlier = None
        if earlier is None or earlier.info.lifecycle_stage == "deleted":  # it was deleted: a new one is created
            self._run_id, self._initialized, self._experiment_id = None, False, None
            return {}
        self.experiment.update_run(self._run_id, status="RUNNING")
        return dict(earlier.data.params)

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


def _earlier_id(folder: Path, tracking_uri: str | None) -> str | None:
    """The id of this folder's earlier run in the same store."""
    try:
        kept = Fields(read_json(folder / RECORD, max_bytes=MAX_RECORD), str(folder / RECORD))
        return kept.text("run_id") if kept.content.get("tracking_uri") == tracking_uri else None
    except DataError:  # none, or torn
        return None
