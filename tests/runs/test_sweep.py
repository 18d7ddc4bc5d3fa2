"""Sweeps with a training that takes no time: what is done, killed, failed, or asked for wrongly."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.config.folders import MAX_NAME_LENGTH, job_folder
from dlcpose.runs.resume import stage_to_resume
from dlcpose.runs.run_json import read_run_json
from dlcpose.runs.sweep import LOCK, quoted, report
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.file_lock import alone
from dlcpose.training import train as training
from tests.shells import SMALL, TINY, reason, shell

Patch = pytest.MonkeyPatch
COMMAND = ("-m", "sweep.name=s", "optimizer.lr=1e-2,1e-3")


@pytest.fixture
def trained(monkeypatch: Patch, here: Path) -> list[dict[str, Any]]:
    """The configs that were trained; training is over at once, and its error is a hundred times the rate."""
    seen: list[dict[str, Any]] = []

    def quick(config: dict[str, Any]) -> float:
        seen.append(config)
        folder = Path(config["run_dir"]) / "evaluation"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps({"mean_error_px": 1.0}))
        return 100 * config["optimizer"]["lr"] + config["seed"]

    monkeypatch.setattr(training, "train_in_this_process", quick)
    return seen


def folders(sweep: Path) -> list[str]:
    return sorted(path.name for path in sweep.iterdir() if path.is_dir())


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_what_was_killed_goes_on(trained: list[Any], here: Path) -> None:
    sweep, rates = here / "multirun" / "s", ("0.01", "0.001")
    answer = shell("train.py", *COMMAND)
    assert answer.code == 0, answer.err
    assert folders(sweep) == ["optimizer.lr-0.001", "optimizer.lr-0.01"]
    assert "sweep multirun/s: 2 done\n" in answer.out
    assert answer.last_line == "compare its runs: dlcpose compare multirun/s"

    first, second = (sweep / f"optimizer.lr-{rate}" for rate in rates)
    (first / "evaluation" / "metrics.json").unlink()  # it is made again
    entry = json.loads((second / "run.json").read_text())
    (second / "run.json").write_text(json.dumps({**entry, "status": "running"}))
    (second / "checkpoints").mkdir()
    (second / "checkpoints" / "last.ckpt").touch()
    trained.clear()
    grown = (*COMMAND[:2], "optimizer.lr=1e-3,1e-4,1e-2")
    answer = shell("train.py", *grown)
    assert answer.code == 0, answer.err
    resumed = {config["optimizer"]["lr"]: config["resume"] is not None for config in trained}
    assert resumed == {0.001: True, 0.0001: False, 0.01: False}
    assert {Path(config["run_dir"]) for config in trained} == {sweep / name for name in folders(sweep)}

    trained.clear()
    answer = shell("train.py", *grown)
    assert answer.code == 0, answer.err
    assert len(re.findall(r"done before, val/mean_error_px \S{1,9}: ", answer.out)) == 3
    assert "sweep multirun/s: 3 done (3 of them before)" in answer.out
    assert trained == []

    said = reason(shell("train.py", *COMMAND, "trainer.max_epochs=5"))
    assert said.startswith("2 of 3 jobs failed: multirun/s/optimizer.lr-0.001: ")
    assert "another config (trainer.max_epochs: 27 there, 5 here). Give another sweep.name, or remove that" in said
    assert trained == []
    assert (read_run_json(first) or {})["status"] == "finished"


@pytest.mark.slow
def test_a_job_that_was_killed_as_its_detector_trained_goes_on_with_the_detector(
    trained: list[Any], here: Path
) -> None:
    command = ("-m", "sweep.name=s", "model=top_down_resnet_18", "init_from.checkpoint=other.ckpt", "seed=0,1")
    assert shell("train.py", *command).code == 0
    killed, young = (here / "multirun" / "s" / f"seed-{seed}" for seed in (0, 1))
    for job in (killed, young):
        entry = json.loads((job / "run.json").read_text())
        (job / "run.json").write_text(json.dumps({**entry, "status": "running"}))
    (killed / "detector" / "checkpoints").mkdir(parents=True)
    (killed / "detector" / "checkpoints" / "last.ckpt").touch()
    trained.clear()
    answer = shell("train.py", *command)
    assert answer.code == 0, answer.err
    assert [config["seed"] for config in trained] == [0, 1]
    found = [stage_to_resume(config["resume"], Path(config["run_dir"]), "detector") for config in trained]
    assert found == [killed / "detector" / "checkpoints" / "last.ckpt", None]
    # Its poses have no weights yet: they begin with those that it was given.
    assert [config["init_from"]["checkpoint"] for config in trained] == ["other.ckpt"] * 2


@pytest.mark.slow
def test_failed_job_does_not_end_the_sweep_and_is_reported(trained: list[Any], here: Path, monkeypatch: Patch) -> None:
    quick = training.train_in_this_process

    def failing(config: dict[str, Any]) -> Any:
        if config["optimizer"]["lr"] == 0.01:
            raise DataError("a.png: expected an image. Replace it.")
        if config["optimizer"]["lr"] == 0.001:
            raise ZeroDivisionError("ours")
        return quick(config)

    command = ("-m", "sweep.name=s", "optimizer.lr=1e-2,1e-3,1e-4")
    with monkeypatch.context() as patched:
        patched.setattr(training, "train_in_this_process", failing)
        answer = shell("train.py", *command)
    assert reason(answer) == (
        "2 of 3 jobs failed: multirun/s/optimizer.lr-0.001: ZeroDivisionError: ours (the others are listed above)"
    )
    assert "sweep multirun/s: 1 done, 2 failed\n" in answer.out
    assert "failed: optimizer.lr-0.01: a.png: expected an image. Replace it.\n" in answer.out
    assert "Traceback" in (here / "multirun/s/optimizer.lr-0.001/error.txt").read_text()
    assert (read_run_json(here / "multirun/s/optimizer.lr-0.01") or {})[
        "error"
    ] == "a.png: expected an image. Replace it."
    trained.clear()
    again = shell("train.py", *command)  # what failed is tried again
    assert again.code == 0, again.err
    assert [config["optimizer"]["lr"] for config in trained] == [0.01, 0.001]
    assert " failed" not in again.out


def test_two_runs_into_the_same_folder(trained: list[Any], here: Path) -> None:
    assert shell("train.py", "hydra.run.dir=mine").code == 0
    assert reason(shell("train.py", "hydra.run.dir=mine")).endswith(
        "mine: the folder holds a run of this config. Resume it with resume=last, give another folder, "
        "or remove that folder."
    )
    assert len(trained) == 1


def test_two_sweeps_at_once_in_the_same_folder(trained: list[Any], here: Path) -> None:
    with alone(Path("multirun", "s", LOCK), ConfigError("held twice")):
        assert reason(shell("train.py", *COMMAND)).startswith("multirun/s: another sweep is running in this folder.")
    assert trained == []  # the lock of one that was killed is gone with it: the other tests go on with such


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("optimizer.lrr=1,2",), "optimizer.lrr: no such key in this config. Nearest: optimizer.lr"),
        (("sweep.name=a/b", "seed=0,1"), "sweep.name=a/b: expected a name for a folder: letters"),
        (("sweep.nam=a", "seed=0,1"), "sweep.nam: no such key in this config. Nearest: sweep.name"),
        (("experiment=torn", "--config-dir", "mylab", "seed=0,1"), "line 3, column 1: "),
    ],
)
def test_mistakes_before_the_first_job(
    arguments: tuple[str, ...], expected: str, trained: list[Any], here: Path
) -> None:
    (here / "mylab" / "experiment").mkdir(parents=True)
    (here / "mylab" / "experiment" / "torn.yaml").write_text("# @package _global_\noptimizer: {lr: [1\n")
    assert expected in reason(shell("train.py", "-m", *arguments))
    assert trained == []


def test_unknown_objective_is_reported_once(here: Path) -> None:
    said = reason(shell("train.py", "-m", "seed=0,1", "optimized_metric=val/mean_eror_px", *SMALL, *TINY))
    assert said.startswith(
        "2 of 2 jobs failed: optimized_metric: no epoch logs 'val/mean_eror_px'. Nearest: val/mean_error_px"
    )


def test_without_a_name_there_is_nothing_to_go_on_with(trained: list[Any], here: Path) -> None:
    answer = shell("train.py", "-m", "seed=0,1")
    assert answer.code == 0, answer.err
    (sweep,) = (here / "multirun").glob("*/*")
    assert folders(sweep) == ["0", "1"]
    assert answer.last_line == f"compare its runs: dlcpose compare {sweep.relative_to(here)}"


@given(st.text(max_size=40))
def test_a_quoted_text_is_what_hydra_reads(text: str) -> None:
    text = text.replace("\n", "").replace("\r", "").replace("$", "")
    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(text)}"])
    assert str(override.value()) == text


@given(st.text(max_size=300))
def test_a_folder_of_a_job_is_a_plain_name(values: str) -> None:
    name = job_folder("s", 7, values)
    assert name == "7" if not values else 0 < len(name) <= MAX_NAME_LENGTH
    assert "/" not in name
    assert not {",", "=", " "} & set(name)
    assert job_folder(None, 7, values) == "7"


def test_long_values_that_begin_alike_have_folders_of_their_own() -> None:
    first, second = (job_folder("s", 0, "x" * 300 + end) for end in "ab")
    assert first != second


def test_a_report_lists_jobs_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "error.txt").write_text("it failed\n")
    lines: list[str] = []
    report(tmp_path, time.time(), lines.append)
    assert lines[1:] == [f"  failed: {number}: it failed" for number in (0, 2, 10)]


def test_a_job_without_a_word_was_killed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text(json.dumps({"status": "running", "config": {}}))
    lines: list[str] = []
    said = report(tmp_path, time.time(), lines.append)
    assert said is not None
    assert said.startswith("1 of 1 job did not finish")
    assert "1 killed" in lines[0]
    old = tmp_path / "b"
    old.mkdir()
    (old / "error.txt").write_text("from an earlier sweep\n")
    os.utime(old / "error.txt", (0, 0))
    assert "failed" not in (report(tmp_path, time.time(), lines.append) or "")
