"""Which folder and which checkpoint a run goes on from."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from dlcpose.config.folders import LAST_CHECKPOINT, check_resumed_folder, run_folder
from dlcpose.runs.resume import (
    check_resumed_settings,
    checkpoint_to_resume,
    earlier_stages,
    how_to_resume,
    resolve_last,
    resume_if_requeued,
    stage_to_resume,
)
from dlcpose.structures.errors import CheckpointError, ConfigError


def run_at(folder: Path, age: float, *, checkpoint: bool = True) -> Path:
    """A run folder that did its last thing `age` seconds after 1970."""
    folder.mkdir(parents=True)
    (folder / "environment.txt").write_text("")
    if checkpoint:
        (folder / LAST_CHECKPOINT.parent).mkdir()
        (folder / LAST_CHECKPOINT).write_text("")
    for path in (folder / "environment.txt", folder / LAST_CHECKPOINT):
        if path.exists():
            os.utime(path, (age, age))
    return folder


def config_of(run_dir: Path, resume: str | None = "last", **more: Any) -> dict[str, Any]:
    return {"run_dir": str(run_dir), "resume": resume, "name": run_dir.parents[1].name, **more}


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    return monkeypatch


def test_the_last_run_is_the_one_that_did_something_last(tmp_path: Path) -> None:
    older, younger = (run_at(tmp_path / "mine" / "day" / name, age) for name, age in (("b", 1000), ("a", 2000)))
    run_at(tmp_path / "other" / "day" / "c", 3000)
    fresh = tmp_path / "mine" / "day" / "z"
    assert run_folder(str(fresh), "last") == str(younger)
    os.utime(older / LAST_CHECKPOINT, (4000, 4000))
    assert run_folder(str(fresh), "last") == str(older)
    assert resolve_last(config_of(older))["resume"] == str(older / LAST_CHECKPOINT)
    # A folder that was given goes on from there, in its own files.
    assert resolve_last(config_of(fresh))["resume"] == str(older / LAST_CHECKPOINT)


def test_a_run_killed_before_its_first_checkpoint_begins_again_and_is_not_mistaken_for_an_older_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_at(tmp_path / "mine" / "day" / "done", 1000)
    killed = run_at(tmp_path / "mine" / "day" / "killed", 2000, checkpoint=False)
    assert run_folder(str(tmp_path / "mine" / "day" / "fresh"), "last") == str(killed)
    assert resolve_last(config_of(killed))["resume"] == "last"
    assert "no checkpoint yet" in capsys.readouterr().out
    assert checkpoint_to_resume("last", killed) is None
    detector = run_at(killed / "detector", 1500)
    assert stage_to_resume("last", killed, "detector") == detector / LAST_CHECKPOINT
    assert resolve_last(config_of(killed))["resume"] == "last"
    assert "only its detector has a checkpoint" in capsys.readouterr().out
    assert stage_to_resume(None, killed, "detector") is None


def test_a_new_folder_goes_on_from_the_youngest_run_that_has_left_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_at(tmp_path / "mine" / "day" / "older", 500)
    saved = run_at(tmp_path / "mine" / "day" / "saved", 1000)
    killed = run_at(tmp_path / "mine" / "day" / "killed", 2000, checkpoint=False)
    assert resolve_last(config_of(tmp_path / "mine" / "day" / "fresh"))["resume"] == str(saved / LAST_CHECKPOINT)
    resumes, passed = capsys.readouterr().out.split(";")
    assert str(saved) in resumes
    assert str(killed) in passed


def test_where_nothing_was_left_there_is_nothing_to_resume(tmp_path: Path) -> None:
    fresh = tmp_path / "mine" / "day" / "fresh"
    with pytest.raises(CheckpointError, match=r"resume=last: no run below .*mine has left a checkpoint"):
        resolve_last(config_of(fresh))
    assert not fresh.exists()


def test_teachers_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for teacher in (2, 10, 1):
        run_at(tmp_path / "run" / "teachers" / str(teacher), 0)
    (tmp_path / "run" / "teachers" / ".DS_Store").touch()
    stages = [last.relative_to(tmp_path / "run").parts[:2] for last in earlier_stages(tmp_path / "run")]
    assert stages == [("teachers", "1"), ("teachers", "2"), ("teachers", "10")]


def test_a_job_of_slurm_has_a_folder_that_no_clock_names(tmp_path: Path, slurm: pytest.MonkeyPatch) -> None:
    own = tmp_path / "mine" / "slurm" / "77"
    first, later = (str(tmp_path / "mine" / "day" / time) for time in ("12-00-00", "13-00-00"))
    assert run_folder(first, None) == str(own)
    run_at(own, 1000)
    assert run_folder(later, None) == later  # a second run within the job
    slurm.setenv("SLURM_RESTART_COUNT", "1")
    assert run_folder(later, None) == str(own)
    assert resume_if_requeued(config_of(own, None))["resume"] == "last"
    slurm.setenv("SLURM_ARRAY_JOB_ID", "70")
    slurm.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert Path(run_folder(later, None)).name == "70_3"


def test_a_job_queued_again_with_another_run_in_its_folder_is_refused(
    tmp_path: Path, slurm: pytest.MonkeyPatch
) -> None:
    from dlcpose.runs.run_json import begin_run

    own = tmp_path / "mine" / "slurm" / "77"
    begin_run({**config_of(own, None, seed=0), "sweep": {}})
    slurm.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(ConfigError, match=r"another config \(seed: 0 there, 1 here\)"):
        resume_if_requeued({**config_of(own, None, seed=1), "sweep": {}})
    assert resume_if_requeued(config_of(tmp_path / "mine" / "slurm" / "78", None))["resume"] is None


def test_a_run_of_another_name_beside_a_folder_is_not_gone_on_with(tmp_path: Path) -> None:
    flies = run_at(tmp_path / "flies" / "run1", 1000)
    (flies / "run.json").write_text(json.dumps({"status": "running", "config": {"name": "flies"}}))
    mice = {"run_dir": str(tmp_path / "mice" / "run1"), "resume": "last", "name": "mice"}
    with pytest.raises(CheckpointError, match="mice"):
        resolve_last(mice)
    assert resolve_last({**mice, "name": "flies"})["resume"] == str(flies / LAST_CHECKPOINT)
    for content in ("{torn", json.dumps({"status": "running", "config": {"name": None}})):
        (flies / "run.json").write_text(content)
        with pytest.raises(CheckpointError, match="mice"):
            resolve_last(mice)
    beside = run_at(tmp_path / "mice" / "run0", 900)
    assert resolve_last(mice)["resume"] == str(beside / LAST_CHECKPOINT)


def test_a_job_of_a_sweep_goes_on_with_the_command_of_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, unnamed = {"sweep": {"name": "first"}}, {"sweep": {"name": None}}
    assert how_to_resume(named) == "resume=last"
    monkeypatch.setattr("dlcpose.runs.resume.in_multirun", lambda: True)
    assert "resume" not in how_to_resume(named)
    monkeypatch.setattr(HydraConfig, "get", lambda: SimpleNamespace(runtime=SimpleNamespace(output_dir=tmp_path)))
    assert f"run_dir={tmp_path} resume=last" in how_to_resume(unnamed)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-7}}, r"optimizer\.lr was 0\.001 and is 1e-07"),
        ({"optimizer": {"_target_": "torch.optim.SGD", "lr": 1e-3}}, r"optimizer\._target_"),
        ({"optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3, "weight_decay": 0.5}}, r"optimizer\.weight_decay"),
        ({"scheduler": {"_target_": "x"}}, r"scheduler\._target_"),
        ({"split": {"_target_": "y", "val": 0.3}}, r"split\.val"),
    ],
)
def test_settings_that_a_resumed_run_would_not_heed_are_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    before = {
        "run_dir": str(tmp_path / "a"),
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3},
        "scheduler": None,
        "split": {"_target_": "y", "val": 0.1},
        "trainer": {"max_epochs": 1},
    }
    with pytest.raises(ConfigError, match=expected):
        check_resumed_settings({**before, **changes}, tmp_path / "last.ckpt", before)
    moved = {**before, "run_dir": str(tmp_path / "b"), "resume": "last"}
    assert check_resumed_settings(moved, tmp_path / "last.ckpt", before) is None
    notice = check_resumed_settings({**before, "trainer": {"max_epochs": 3}}, tmp_path / "last.ckpt", before)
    assert notice == "resumed with other settings: trainer.max_epochs=3 (was 1)"


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    for number in range(3):
        first = str(tmp_path / "mice" / "day" / f"12-00-0{number}")
        assert run_folder(first, None) == first
        Path(first).mkdir(parents=True)
        assert run_folder(first, None) == first  # of this process still
    taken = tmp_path / "mice" / "day" / "12-00-09"
    taken.mkdir()
    assert run_folder(str(taken), None) == f"{taken}-2"


@pytest.mark.parametrize("name", ["train.log", "pictures", ".hydra/config.yaml", ".hydra", "detector/pictures"])
def test_a_run_folder_of_somebody_elses_has_no_file_elsewhere_written(tmp_path: Path, name: str) -> None:
    folder, victim = run_at(tmp_path / "gift", 1000), tmp_path / "thesis.tex"
    victim.write_text("canary")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(tmp_path if Path(name).name in ("pictures", ".hydra") else victim)
    command = [sys.executable, "-c", RESUME, f"resume={folder / LAST_CHECKPOINT}"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert f"{name}: expected a file or folder of the run" in ended.stderr
    assert victim.read_text() == "canary"
    assert not (tmp_path / "config.yaml").exists()


RESUME = "from dlcpose.cli.hydra_main import run_hydra; run_hydra('train', lambda config: None)"


def test_a_run_folder_with_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder = run_at(tmp_path / "gift", 1000)
    check_resumed_folder(folder)
    (tmp_path / "large disk").mkdir()
    (folder / LAST_CHECKPOINT).unlink()
    (folder / LAST_CHECKPOINT.parent).rmdir()
    (folder / LAST_CHECKPOINT.parent).symlink_to(tmp_path / "large disk")
    check_resumed_folder(folder)
    os.mkfifo(folder / "train.log")
    with pytest.raises(ConfigError, match="got a pipe"):
        check_resumed_folder(folder)
