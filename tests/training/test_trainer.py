"""The trainer of a config: what Lightning would take and then do nothing with is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.utilities import rank_zero_only

from dlcpose.instantiate import Instantiator
from dlcpose.structures.errors import ConfigError
from dlcpose.training.trainer import PRECISIONS, build_trainer
from tests.made_up_runs import option


def built(folder: Path, logger: dict[str, Any] | None = None, **changes: Any) -> Trainer:
    settings = {**option("trainer", "cpu"), **changes}
    parts = {"logger": logger or {}, "callbacks": {}, "metric": {}}
    monitored = {"best": {"monitor": "val/loss"}, "optimized_metric": "val/loss", "scheduler": {}}
    config = {"run_dir": str(folder), "name": "none", "seed": 0, "sweep": {"name": None}, **monitored, **parts}
    return build_trainer({**config, "trainer": settings}, Instantiator())


@pytest.mark.parametrize("name", ["max_epochs", "max_steps", "limit_train_batches"])
def test_a_run_that_would_train_nothing_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer\.{name}=0"):
        built(tmp_path, **{name: 0})


def test_a_way_to_overfit_that_the_data_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^trainer\.overfit_batches: .*datamodule\.overfit"):
        built(tmp_path, overfit_batches=1)


def test_a_tracker_that_cannot_be_built_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is an extra: pip install 'dlcpose[mlflow]'")
    with pytest.raises(ConfigError, match=r"^logger\.mlflow: cannot begin \(MlflowException: .*leave it out\.$"):
        built(
            tmp_path,
            logger={"mlflow": {**option("logger", "mlflow")["mlflow"], "tracking_uri": str(tmp_path / "runs")}},
        )


@pytest.mark.parametrize("precision", ["64-true", "16-true", "bf16-true", 64])
def test_a_precision_of_whole_batches_is_refused(precision: str | int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^trainer\.precision=.*-true: expected one of 32-true, "):
        built(tmp_path, precision=precision)


@pytest.mark.parametrize("precision", ["32-true", 32, "bf16-mixed"])
def test_those_that_it_trains_in_are_taken(precision: str | int, tmp_path: Path) -> None:
    assert built(tmp_path, precision=precision).precision in PRECISIONS


def test_only_the_first_of_several_processes_opens_the_stores_of_trackers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that create MLflow's tables at once fail, the one or the other."""
    pytest.importorskip("mlflow", reason="the mlflow extra is not installed")
    logger = option("logger", "mlflow")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert len(built(tmp_path, logger).loggers) == 1
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    assert len(built(tmp_path, logger).loggers) == 1
    assert (tmp_path / "mlflow.db").is_file()


@pytest.mark.parametrize("named", ["mps", "gpu"])
def test_the_gpu_of_an_apple_computer_is_taken_neither_by_name_nor_by_itself(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert isinstance(built(tmp_path, accelerator="auto").accelerator, CPUAccelerator)
    with pytest.raises(ConfigError, match=rf"^trainer\.accelerator={named}: .*64-bit.*trainer=cpu"):
        built(tmp_path, accelerator=named)
