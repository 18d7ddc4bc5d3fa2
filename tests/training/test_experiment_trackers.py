"""What trackers hold after a run, read by their own readers; one that fails; docs/experiment_trackers.md word for word."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2

from dlcpose.loggers.csv_logger import _ContinuedWriter
from dlcpose.loggers.tensorboard_logger import TensorBoardTracker
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.runs.provenance import git_revision
from tests.shells import REPOSITORY, SMALL, TINY, reason, shell

pytestmark = pytest.mark.slow  # whole runs, each in processes of its own

PAGE = REPOSITORY / "docs" / "experiment_trackers.md"
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL) for line in block.splitlines()
]
SERVER, REMOTE = (next(line for line in COMMANDS if said in line) for said in ("mlflow server", "tracking_uri=http"))
EPOCHS, STEPS = 2, 2
FIGURES = ("val/mean_error_px", "val/loss", "train/loss", "lr-AdamW")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run with every tracker at once."""
    pytest.importorskip("mlflow", reason="mlflow is an extra: pip install 'dlcpose[mlflow]'")
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for name in ("WANDB_API_KEY", "WANDB_MODE"):
            patched.delenv(name, raising=False)
        answer = shell(
            *("train.py", "logger=[csv,wandb,tensorboard,mlflow]", "logger.wandb.offline=true", *SMALL, *TINY),
            *(f"trainer.max_epochs={EPOCHS}", "callbacks.pictures.every_n_epochs=1", "hydra.run.dir=run"),
            HOME=str(folder / "home"),
        )
    assert answer.code == 0, answer.err
    assert wandb.run is None  # the next job of a sweep gets a run of its own
    # Nothing beside the run folder but what wandb itself says of its work.
    assert {path.name for path in folder.iterdir()} <= {"run", "home"}
    assert not list(folder.glob("home/**/*.ckpt"))
    return folder / "run"


@pytest.fixture(scope="module")
def logged(tracked: Path) -> pd.DataFrame:
    """metrics.csv, one row for each step at which something was logged."""
    return pd.read_csv(tracked / "metrics.csv").groupby("step").first()


@pytest.fixture(scope="module")
def outcome(tracked: Path) -> dict[str, float]:
    """The figures on the test frames that have a value."""
    figures = json.loads((tracked / "evaluation" / "metrics.json").read_text())
    return {name: value for name, value in figures.items() if value is not None}


def assert_facts(config: dict[str, Any], overrides: list[str], environment: dict[str, str]) -> None:
    """That a tracker knows what the run was."""
    assert config["backbone"]["name"] == "test_resnet"
    assert config["optimizer"]["_target_"] == "torch.optim.AdamW"  # a value of a default
    assert config["best"] == {"monitor": config["optimized_metric"]}  # resolved
    assert {"dataset.frames=24", *TINY} <= set(overrides)
    assert environment["git"] == git_revision()
    assert {"command", "machine", "torch", "dlcpose", "python"} <= environment.keys()


def leveldb_records(content: bytes) -> list[bytes]:
    """The records of LevelDB's log format, in which wandb keeps a run: blocks of 32 KiB, a header of 7 bytes per piece."""
    records, pieces, place = [], b"", 7  # behind wandb's own header
    while place + 7 <= len(content):
        if 2**15 - place % 2**15 < 7:  # what is left of a block has no room for a header
            place += 2**15 - place % 2**15
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            records.append(pieces)
            pieces = b""
    return records


def test_wandb_offline_holds_all_of_the_run(tracked: Path, logged: pd.DataFrame, outcome: dict[str, float]) -> None:
    (folder,) = tracked.glob("wandb/offline-run-*")
    (file,) = folder.glob("*.wandb")
    records = [wandb_internal_pb2.Record.FromString(data) for data in leveldb_records(file.read_bytes())]

    def items(updates: Any) -> dict[str, Any]:
        return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in updates}

    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for record in records:
        config |= items(record.run.config.update) | items(record.config.update)
        summary |= items(record.summary.update)
    assert_facts(config, config["dlcpose"]["overrides"], config["dlcpose"]["environment"])
    history = [items(record.history.item) for record in records if record.HasField("history")]
    for name in FIGURES:
        found = {int(row["trainer/global_step"]): row[name] for row in history if name in row}
        expected = logged[name].dropna()
        assert found == pytest.approx(dict(expected), rel=1e-5), name
    shown = [row["val/predictions.filenames"] for row in history if "val/predictions.filenames" in row]
    assert len(shown) == EPOCHS
    assert all((folder / "files" / name).stat().st_size > 0 for names in shown for name in names)
    assert summary["test/mean_error_px"] == pytest.approx(outcome["mean_error_px"])
    assert summary["optimized_metric/val/mean_error_px"] == pytest.approx(logged["val/mean_error_px"].min(), rel=1e-5)
    (artifact,) = [record.artifact for record in records if record.HasField("artifact")]
    held = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert {"best.ckpt", "environment.txt", "split.json", "metrics.json", "report.html"} == set(held)
    assert held["best.ckpt"] == tracked / "checkpoints" / "best.ckpt"  # as it lies, not a copy elsewhere


def test_tensorboard_holds_all_of_the_run(tracked: Path, logged: pd.DataFrame, outcome: dict[str, float]) -> None:
    events = EventAccumulator(str(tracked / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    events.Reload()
    for name in FIGURES:
        found = {event.step: event.value for event in events.Scalars(name)}
        assert found == pytest.approx(dict(logged[name].dropna()), rel=1e-5), name
    assert len(events.Images("val/predictions")) == EPOCHS

    def text(name: str) -> Any:
        (value,) = events.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val
        return yaml.safe_load(value.decode())

    assert_facts(text("config"), text("overrides"), text("environment"))
    (final,) = events.Scalars("test/mean_error_px")
    assert final.value == pytest.approx(outcome["mean_error_px"], rel=1e-5)
    hyperparameters = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"optimizer/lr" in hyperparameters
    metrics = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    assert b"test/mean_error_px" in metrics
    assert b"optimized_metric/val/mean_error_px" in metrics


def assert_in_mlflow(
    uri: str, experiment: str, run: Path, logged: pd.DataFrame, outcome: dict[str, float], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    (entry,) = client.search_runs([found.experiment_id])
    assert (entry.info.status, entry.info.run_name) == ("FINISHED", experiment)
    assert entry.data.params["optimizer/lr"] == "0.001"
    assert entry.data.params["backbone/name"] == "test_resnet"
    for name in FIGURES:
        history = {metric.step: metric.value for metric in client.get_metric_history(entry.info.run_id, name)}
        assert history == pytest.approx(dict(logged[name].dropna()), rel=1e-5), name
    assert "val/pck_at_0.1" in entry.data.metrics
    assert entry.data.metrics["test/mean_error_px"] == pytest.approx(outcome["mean_error_px"])
    kept = Path(client.download_artifacts(entry.info.run_id, "", str(tmp_path)))
    config, overrides, environment = (
        yaml.safe_load((kept / f"{name}.yaml").read_text()) for name in ("config", "overrides", "environment")
    )
    assert_facts(config, overrides, environment)
    assert (kept / "checkpoints" / "best.ckpt").read_bytes() == (run / "checkpoints" / "best.ckpt").read_bytes()
    assert (kept / "evaluation" / "report.html").is_file()
    assert list((kept / "images").glob("val_predictions*.png"))


def test_mlflow_holds_all_of_the_run(
    tracked: Path, logged: pd.DataFrame, outcome: dict[str, float], tmp_path: Path
) -> None:
    assert_in_mlflow(f"sqlite:///{tracked}/mlflow.db", "resnet_18", tracked, logged, outcome, tmp_path)


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with every tracker that was ended in its second epoch, one step into it, and resumed."""
    pytest.importorskip("mlflow", reason="mlflow is an extra: pip install 'dlcpose[mlflow]'")
    folder = tmp_path_factory.mktemp("gone_on")
    step, begun = PoseEstimator.training_step, []

    def killed(pipeline: PoseEstimator, batch: Any, index: int) -> Any:
        begun.append(index)
        if len(begun) == STEPS + 2:
            raise RuntimeError("killed")
        return step(pipeline, batch, index)

    command = (
        *("train.py", "logger=[csv,wandb,tensorboard,mlflow]", "logger.wandb.offline=true", *SMALL, *TINY),
        *(f"trainer.max_epochs={EPOCHS}", "trainer.log_every_n_steps=1", "callbacks.pictures.every_n_epochs=1"),
        "hydra.run.dir=run",
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for name in ("WANDB_API_KEY", "WANDB_MODE"):
            patched.delenv(name, raising=False)
        patched.setattr(PoseEstimator, "training_step", killed)
        with pytest.raises(RuntimeError, match="killed"):
            shell(*command, HOME=str(folder / "home"))
        assert (folder / "run" / "checkpoints" / "last.ckpt").is_file()
        answer = shell(*command, "resume=last", HOME=str(folder / "home"))
    assert answer.code == 0, answer.err
    assert begun == [0, 1, 0, 1, 0, 1]  # the second epoch once more
    return folder / "run"


def test_tensorboard_shows_each_step_of_a_resumed_run_once(gone_on: Path) -> None:
    logged = pd.read_csv(gone_on / "metrics.csv").groupby("step").first()
    events = EventAccumulator(str(gone_on / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    events.Reload()
    for name in FIGURES:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == list(logged[name].dropna().index), name
        assert dict(found) == pytest.approx(dict(logged[name].dropna()), rel=1e-5), name
    assert [image.step for image in events.Images("val/predictions")] == list(logged["val/loss"].dropna().index)
    kept = EventAccumulator(str(gone_on / "tensorboard"), purge_orphaned_data=False)
    kept.Reload()
    assert len(kept.Scalars("lr-AdamW")) > len(events.Scalars("lr-AdamW"))  # there was something to drop


def test_mlflow_and_wandb_go_on_with_the_run_of_the_folder(gone_on: Path) -> None:
    from mlflow import MlflowClient

    logged = pd.read_csv(gone_on / "metrics.csv").groupby("step").first()
    client = MlflowClient(f"sqlite:///{gone_on}/mlflow.db")
    (entry,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert entry.info.status == "FINISHED"
    assert entry.data.params["resume"] == "None"  # as it began
    for name in FIGURES:
        history = client.get_metric_history(entry.info.run_id, name)
        assert {metric.step for metric in history} == set(logged[name].dropna().index), name
    assert "test/mean_error_px" in entry.data.metrics
    names = [folder.name for folder in gone_on.glob("wandb/offline-run-*")]
    assert len(names) == 2
    assert len({name.rpartition("-")[2] for name in names}) == 1


@pytest.fixture
def server(here: Path) -> Iterator[str]:
    """The command of the page, with a port that is free; its address."""
    pytest.importorskip("mlflow", reason="mlflow is an extra: pip install 'dlcpose[mlflow]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = shlex.split(SERVER.replace("5000", str(port)))
    assert command[0] == "mlflow"
    with Path("server.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--workers", "1"], stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        if not _answers(address, process, patience=240):
            last = Path("server.log").read_text(encoding="utf-8").strip().splitlines()[-1:]
            pytest.fail(f"mlflow server did not start within four minutes: {' '.join(last)}")
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _answers(address: str, process: subprocess.Popen[bytes], patience: float) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        try:
            return bool(opener.open(f"{address}/health", timeout=5).status == 200)
        except OSError:
            time.sleep(0.5)
    return False


def test_mlflow_on_a_server_holds_the_same(server: str, here: Path, tmp_path: Path) -> None:
    command = [server if each == "http://127.0.0.1:5000" else each for each in shlex.split(REMOTE)[1:]]
    command = [each.replace("http://127.0.0.1:5000", server) for each in command]
    answer = shell(*command, *SMALL, *TINY, "hydra.run.dir=run", NO_PROXY="127.0.0.1")
    assert answer.code == 0, answer.err
    figures = json.loads((here / "run" / "evaluation" / "metrics.json").read_text())
    table = pd.read_csv(here / "run" / "metrics.csv").groupby("step").first()
    assert_in_mlflow(server, "resnet_18", here / "run", table, figures, tmp_path)


def test_a_tracker_that_fails_on_the_way_is_dropped_and_the_run_goes_on(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full(self: TensorBoardTracker, metrics: Any, step: int | None = None) -> None:
        calls.append(step)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoardTracker, "log_metrics", full)
    answer = shell("train.py", "logger=[tensorboard,csv]", *SMALL, *TINY, "hydra.run.dir=run", "trainer.max_epochs=2")
    assert answer.code == 0, answer.err
    assert len(calls) == 1
    log = (here / "run" / "train.log").read_text()
    assert log.count("logger.tensorboard failed (OSError: [Errno 28] No space left on device)") == 1
    assert set(pd.read_csv(here / "run" / "metrics.csv")["epoch"].dropna()) == {0, 1}
    assert (here / "run" / "checkpoints" / "best.ckpt").is_file()


def test_metrics_that_cannot_be_written_are_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: _ContinuedWriter) -> None:
        raise OSError(28, "No space left on device", "metrics.csv")

    monkeypatch.setattr(_ContinuedWriter, "save", full)
    assert reason(shell("train.py", *SMALL, *TINY)).startswith("metrics.csv: No space left on device. Check the path")


def test_trackers_that_cannot_begin_are_one_line(here: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is an extra: pip install 'dlcpose[mlflow]'")
    background = ("logger=[csv,mlflow]", "logger.mlflow.tracking_uri=http://127.0.0.1:9")
    said = reason(shell("train.py", *background, *SMALL, *TINY, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"))
    assert said.startswith("logger.mlflow: cannot begin (MlflowException: ")
    wandb.teardown()  # what another run of this process gave it would outlive that run
    no_key = {"WANDB_MODE": "online", "HOME": str(here), "WANDB_API_KEY": "", "NETRC": str(here / "none")}
    said = reason(shell("train.py", "logger=[csv,wandb]", *SMALL, *TINY, **no_key))
    assert said.startswith("logger.wandb: cannot begin (UsageError: ")


# What makes a command of the page small; the backbone only where no model is named.
QUICK = (*SMALL, "trainer.max_epochs=1", "split.test=0", "datamodule.batch_size=2")
INSTEAD = {"compile=true": "compile=eager"}  # inductor takes minutes


@pytest.mark.parametrize("command", [line for line in COMMANDS if line not in (SERVER, REMOTE)])
def test_the_page_can_be_followed(command: str, here: Path) -> None:
    program, *arguments = shlex.split(command)
    assert program == "python"
    network = () if "model=" in command else TINY
    # An override that comes later wins.
    instead = [INSTEAD[argument] for argument in arguments if argument in INSTEAD]
    answer = shell(*arguments, *QUICK, *network, *instead, "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert "epoch 1/1: loss " in answer.out
    assert (here / "run" / "checkpoints" / "best.ckpt").is_file()
    shutil.rmtree(here / "run")
