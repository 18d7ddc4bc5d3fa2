"""Several processes that train one model: the same result as one, everything written once, one config for all."""

import csv
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dlcpose.checkpoint import read_checkpoint
from dlcpose.runs.distributed import processes_needed
from dlcpose.structures.errors import ConfigError
from tests.shells import REPOSITORY, Answer, python, reason, shell

pytestmark = pytest.mark.slow  # whole runs, each in processes of its own

# 13 frames to train on, 9 to validate, 5 to test: none is a multiple of the devices' batches. Nothing here looks
# at a whole batch: batch-norm in training, and losses that count what is labeled, differ between one batch of four and
# two of two. And Adam would make a whole step of a gradient that is 0 up to rounding.
TINY_DATA = (
    *("dataset.frames=27", "dataset.videos=1", "dataset.height=64", "dataset.width=64", "split.val=0.33"),
    *("backbone=timm", "backbone.name=test_resnet", "backbone.frozen_statistics=true"),
    *("neck=identity", "neck.level=0", "head.deconvolutions=0", "loss=mean_squared_error", "optimizer=sgd"),
    *("trainer.max_epochs=2", "trainer.precision=32-true", "trainer.accelerator=cpu", "datamodule.min_steps=0"),
    *("datamodule.workers=0", "evaluation.pictures=0"),
)
TWO = (
    "trainer=ddp",
    "trainer.devices=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.max_epochs=2",
)
# What each process of a run sees, as it begins to train.
SPY = """
import json
import logging
from pathlib import Path
import yaml
from pytorch_lightning import Callback

class Spy(Callback):
    def on_train_start(self, trainer, pl_module):
        config = yaml.safe_load(pl_module.description["config"])
        run_dir = Path(config["run_dir"])
        (run_dir / f"seen_by_{trainer.global_rank}.json").write_text(json.dumps(config, sort_keys=True))
        logging.getLogger("spying").warning("a word of %d", trainer.global_rank)
"""


@pytest.fixture
def spied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    (tmp_path / "spying.py").write_text(SPY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(REPOSITORY)]))
    return ("+callbacks.spy._target_=spying.Spy", "trust=[spying]")


def seen_in(run: Path) -> dict[str, Any]:
    """The config that both processes saw."""
    first, second = (json.loads((run / f"seen_by_{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first["run_dir"] == str(run)
    read: dict[str, Any] = first
    return read


def table(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def trained(script: Path, *overrides: str, cwd: Path, **environment: str) -> Answer:
    settings = {"PYTHONPATH": os.environ.get("PYTHONPATH", str(REPOSITORY)), **environment}
    answer = python(script, *overrides, cwd=cwd, **settings)
    assert answer.code == 0, answer.out[-2000:] + answer.err[-4000:]
    return answer


def test_two_processes_give_what_one_gives_with_twice_the_batch(here: Path, spied: tuple[str, ...]) -> None:
    assert shell("train.py", *TINY_DATA, "name=alone", "datamodule.batch_size=4").code == 0
    answer = trained(
        REPOSITORY / "train.py", *TINY_DATA, *TWO, *spied, "name=both", "datamodule.batch_size=2", cwd=here
    )
    (alone,), (both,) = ((here / "outputs" / name).glob("*/*") for name in ("alone", "both"))
    assert "effective batch 4 (2 x 2 devices x 1 accumulated)" in answer.out
    assert seen_in(both)["name"] == "both"
    one, two = table(alone), table(both)
    assert [row.keys() for row in one] == [row.keys() for row in two]
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, rel=1e-3, abs=1e-3, nan_ok=True)
    frames = json.loads((both / "split.json").read_text())
    assert len(frames["val"]) % 2
    assert {row["val/images"] for row in two if "val/images" in row} == {len(frames["val"])}
    ours, theirs = (read_checkpoint(run / "checkpoints" / "last.ckpt").weights for run in (both, alone))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5, msg=name)
    expected = {path.relative_to(alone) for path in alone.rglob("*")} | {Path("seen_by_0.json"), Path("seen_by_1.json")}
    assert {path.relative_to(both) for path in both.rglob("*")} == expected
    assert answer.out.count("run folder: ") == 1
    log = (both / "train.log").read_text()
    assert log.count("a word of 0") == 1
    assert "a word of 1" not in log
    assert answer.last_line.startswith(f"{both}: mean error ")


def test_each_trial_of_a_search_is_one_run_of_two_processes(here: Path, spied: tuple[str, ...]) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the sweep extra is not installed")
    search = ("-m", "hparams_search=rates", "hydra.sweeper.n_trials=2", "trainer.max_epochs=1")
    trained(REPOSITORY / "train.py", *TINY_DATA, *TWO, *search, *spied, "datamodule.batch_size=2", cwd=here)
    (sweep,) = (here / "multirun").glob("*/*")
    jobs = sorted(path for path in sweep.iterdir() if path.is_dir())
    assert [job.name for job in jobs] == ["0", "1"]
    assert not (here / "outputs").exists()
    rates = [seen_in(job)["optimizer"]["lr"] for job in jobs]
    assert len(set(rates)) == 2
    best = yaml.safe_load((sweep / "optimization_results.yaml").read_text())
    objectives = [min(row["val/mean_error_px"] for row in table(job) if "val/mean_error_px" in row) for job in jobs]
    assert best["best_value"] == pytest.approx(min(objectives), rel=1e-5)
    assert best["best_params"]["optimizer.lr"] == pytest.approx(rates[objectives.index(min(objectives))])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def side_by_side(commands: list[tuple[list[str], dict[str, str]]], cwd: Path) -> list[Answer]:
    """What processes give back that run at once, each with an environment of its own."""
    inherited = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "COLUMNS": "120", **inherited}
    running = [
        subprocess.Popen(
            command, cwd=cwd, env={**settings, **own}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for command, own in commands
    ]
    said = [process.communicate(timeout=900) for process in running]
    return [Answer(process.returncode, *texts) for process, texts in zip(running, said, strict=True)]


def test_torchrun_on_two_machines_runs_every_job_of_a_sweep(here: Path, spied: tuple[str, ...]) -> None:
    nodes = ("trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2", "trainer.accelerator=cpu")
    overrides = [*TINY_DATA, *nodes, *spied, "trainer.max_epochs=1", "seed=0,1", "datamodule.batch_size=2"]
    port = str(free_port())
    commands = [
        (
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"),
                *(f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}"),
                *(str(REPOSITORY / "train.py"), "-m", *overrides),
            ],
            {},
        )
        for node in range(2)
    ]
    answers = side_by_side(commands, here)
    assert [answer.code for answer in answers] == [0, 0], answers[0].err[-3000:] + answers[1].err[-3000:]
    (sweep,) = (here / "multirun").glob("*/*")
    jobs = sorted(path for path in sweep.iterdir() if path.is_dir())
    assert [seen_in(job)["seed"] for job in jobs] == [0, 1]
    assert all((job / "evaluation" / "metrics.json").exists() for job in jobs)


def slurm(rank: int, port: int, restarts: int = 0) -> dict[str, str]:
    """What SLURM tells the processes of a job of two machines, with one each."""
    return {
        **{"SLURM_JOB_ID": "4242", "SLURM_JOB_NAME": "pose", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"},
        **{"SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2", "SLURM_NODELIST": "127.0.0.1"},
        **{"SLURM_PROCID": str(rank), "SLURM_LOCALID": "0", "SLURM_NODEID": str(rank)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "SLURM_RESTART_COUNT": str(restarts)},
    }


def test_a_job_of_slurm_that_is_queued_again_finds_its_folder(here: Path, spied: tuple[str, ...]) -> None:
    nodes = ("trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2", "trainer.accelerator=cpu")
    overrides = [*TINY_DATA, *nodes, *spied, "name=queued", "datamodule.batch_size=2"]
    port = free_port() % 20_000 + 10_000  # the configs go through a port 10 000 above

    def submit(restarts: int, *more: str) -> list[Answer]:
        command = [sys.executable, str(REPOSITORY / "train.py"), *overrides, *more]
        return side_by_side([(command, slurm(rank, port, restarts)) for rank in range(2)], here)

    first = submit(0, "trainer.max_epochs=2")
    assert [answer.code for answer in first] == [0, 0], first[0].err[-3000:] + first[1].err[-3000:]
    (run,) = (here / "outputs" / "queued").glob("*/*")
    assert run.relative_to(here) == Path("outputs/queued/slurm/4242")
    assert seen_in(run)["resume"] is None
    again = submit(1, "trainer.max_epochs=2")
    assert [answer.code for answer in again] == [0, 0], again[0].err[-3000:] + again[1].err[-3000:]
    assert list((here / "outputs" / "queued").glob("*/*")) == [run]
    assert "epoch 1/2" not in again[0].out  # it was done
    assert {row["epoch"] for row in table(run) if "epoch" in row} == {0, 1}


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"devices": 1}, 0),
        ({"devices": "1"}, 0),
        ({"devices": "auto", "accelerator": "cpu"}, 0),
        ({"devices": 2}, 2),
        ({"devices": "4"}, 4),
        ({"devices": [0, 3]}, 2),
        ({"devices": "0,1,2"}, 3),
    ],
)
def test_how_many_processes_are_started(settings: dict[str, Any], count: int) -> None:
    assert processes_needed({"trainer": {"accelerator": "auto", **settings}}) == count


@pytest.mark.parametrize(
    ("accelerator", "gpus", "devices", "said"),
    [
        ("gpu", 2, 4, "error"),
        ("auto", 2, 4, "error"),
        ("cuda", 0, 4, "error"),
        ("gpu", 4, 4, ""),
        ("cpu", 4, 4, "warning"),
        ("auto", 0, 4, "warning"),
        ("cpu", 0, 2, ""),
    ],
)
def test_more_devices_than_there_are_is_said_in_one_line(
    accelerator: str,
    gpus: int,
    devices: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("dlcpose.runs.distributed.cpu_cores", lambda: 2)
    config = {"trainer": {"accelerator": accelerator, "devices": devices}}
    if said == "error":
        with pytest.raises(ConfigError, match=rf"^trainer\.devices=4: this machine has {gpus} GPUs"):
            processes_needed(config)
    else:
        assert processes_needed(config) == devices
    assert caplog.text.count("trainer.devices=4: these are processes that share 2 CPU cores") == (said == "warning")
    assert len(caplog.records) == (said == "warning")


def test_several_machines_are_for_torchrun_and_slurm(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.num_nodes=2: start it on each machine with torchrun"):
        processes_needed({"trainer": {"accelerator": "cpu", "devices": 1, "num_nodes": 2}})


def test_mistake_is_reported_once_with_several_processes(here: Path) -> None:
    answer = python(REPOSITORY / "train.py", *TINY_DATA, *TWO, "dataset.videos=0", cwd=here, PYTHONPATH=str(REPOSITORY))
    assert "dataset" in reason(answer)
    assert not math.isnan(answer.code)
