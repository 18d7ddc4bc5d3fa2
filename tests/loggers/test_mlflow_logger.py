from pathlib import Path
from typing import Any

import pytest

from dlcpose.loggers.mlflow_logger import RECORD, MlflowTracker


@pytest.fixture(autouse=True, scope="module")
def _mlflow() -> None:
    """Imported where these tests are run, not wherever tests are collected: it takes seconds."""
    pytest.importorskip("mlflow", reason="mlflow is an extra: pip install 'dlcpose[mlflow]'")


def begun(folder: Path, uri: str | None = None, **config: Any) -> MlflowTracker:
    """A tracker of a run of some config in a folder."""
    tracker = MlflowTracker(str(folder), "mice", tracking_uri=uri)
    tracker.begin({"config": {"lr": {"value": 1e-3}, **config}, "overrides": [], "environment": {}, "git": "abc"})
    return tracker


def test_a_run_that_goes_on_in_its_folder_is_the_same_run(tmp_path: Path) -> None:
    first = begun(tmp_path, resume=None)
    first.log_metrics({"val/loss": 2.0}, 0)
    first.finalize("failed")
    again = begun(tmp_path, resume="last.ckpt", epochs=7)
    assert again.run_id == first.run_id
    kept = again.experiment.get_run(again.run_id)
    assert kept.info.status == "RUNNING"
    # MLflow lets no parameter change; what is new is added.
    assert kept.data.params == {"lr/value": "0.001", "resume": "None", "epochs": "7"}
    assert kept.data.metrics == {"val/loss": 2.0}

    again.experiment.delete_run(again.run_id)
    anew = begun(tmp_path, resume=None)
    assert anew.run_id != first.run_id
    assert begun(tmp_path).run_id == anew.run_id
    # Another store knows nothing of it, and neither does a folder whose record was torn.
    other = f"sqlite:///{tmp_path}/mlflow.db?cache=private"
    assert MlflowTracker(str(tmp_path), "m", tracking_uri=other)._run_id is None
    twice = f'{{"tracking_uri": null, "run_id": "{anew.run_id}", "run_id": "{anew.run_id}"}}'
    for text in ("{", "[]", '{"tracking_uri": null}', twice):
        (tmp_path / RECORD).write_text(text)
        assert MlflowTracker(str(tmp_path), "m")._run_id is None
    assert begun(tmp_path).run_id != anew.run_id


@pytest.mark.parametrize(("named", "experiment"), [(None, "rates"), ("mine", "mine")])
def test_jobs_of_a_sweep_are_one_experiment(tmp_path: Path, named: str | None, experiment: str) -> None:
    made = MlflowTracker(str(tmp_path), "seed-0", "rates", experiment_name=named)
    run = made.experiment.get_run(made.run_id)
    assert run.info.run_name == "seed-0"
    assert made.experiment.get_experiment(run.info.experiment_id).name == experiment
