"""Runs that are killed, told to stop, or find no room: what they leave, and that they go on as if nothing had been."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import dlcpose
from dlcpose.checkpoint import read_checkpoint
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.pipelines.detection import Detection
from tests.shells import REPOSITORY, SMALL, TINY, Answer, python, reason, shell
from tests.training.test_detector_stage import TINY_DETECTOR, TOP_DOWN

pytestmark = pytest.mark.slow  # whole runs, each in processes of its own

# Everything that is random: order, augmentation, dropped paths, averaged weights; two processes make batches.
CHANCY = (
    *("dataset.frames=24", "dataset.videos=2", "dataset.height=64", "dataset.width=64", "augmentation=strong"),
    *("backbone=timm", "backbone.name=test_resnet", "+backbone.options.drop_path_rate=0.3", "neck.channels=16"),
    *("datamodule.batch_size=2", "datamodule.workers=2", "datamodule.min_steps=0", "evaluation.pictures=0"),
    *("trainer.max_epochs=5", "trainer.accelerator=cpu", "trainer.precision=32-true"),
)
KILLS = int(os.environ.get("DLCPOSE_KILLS", "6"))  # each costs some seconds; 100 were tried, see docs/trust.md
OF_THE_MACHINE = ("images_per_s", "peak_memory_mb")


def stopped_again_and_again(folder: Path, number: int, kills: int, *overrides: str) -> Answer:
    answer = python(
        REPOSITORY / "tests" / "runs" / "killed.py", folder, str(number), str(kills), *overrides, cwd=folder
    )
    assert answer.code == 0, answer.out[-2000:] + answer.err[-4000:]
    return answer


def assert_same_run(straight: Path, stopped: Path) -> None:
    assert (stopped / "metrics.csv").read_bytes() == (straight / "metrics.csv").read_bytes()
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = content(stopped / "checkpoints" / name), content(straight / "checkpoints" / name)
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
            assert_equal(ours[part], theirs[part], f"{name}: {part}")
        assert read_checkpoint(stopped / "checkpoints" / name).weights
    ours, theirs = figures(stopped), figures(straight)
    assert {name: ours[name] for name in theirs if name not in OF_THE_MACHINE} == {
        name: value for name, value in theirs.items() if name not in OF_THE_MACHINE
    }
    assert {path.name for path in (stopped / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def content(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = torch.load(path, weights_only=True)
    return read


def figures(run: Path) -> dict[str, float]:
    read: dict[str, float] = json.loads((run / "evaluation" / "metrics.json").read_text())
    return read


def assert_equal(ours: Any, theirs: Any, where: str) -> None:
    if isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs), where
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for name in theirs:
            assert_equal(ours[name], theirs[name], f"{where}.{name}")
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), where
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(one, other, f"{where}[{index}]")
    else:
        assert ours == theirs, where


def test_run_killed_at_random_moments_ends_the_same(tmp_path: Path) -> None:
    epochs = max(5, KILLS * 2 // 5)
    answer = stopped_again_and_again(tmp_path, signal.SIGKILL, KILLS, *CHANCY, f"trainer.max_epochs={epochs}")
    assert "ended with -9" in answer.out
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


def test_stopped_run_resumes_within_epoch(tmp_path: Path) -> None:
    answer = stopped_again_and_again(tmp_path, signal.SIGTERM, 3, *CHANCY)
    assert "dlcpose: stopped by SIGTERM, saved " in answer.err
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


SMALL_RUN = (*SMALL, *TINY)


def test_out_of_memory_error_suggests_settings(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(PoseEstimator, "training_step", too_much)
    said = reason(shell("train.py", *SMALL_RUN))
    assert said.startswith("out of memory (CUDA out of memory. Tried to allocate 20.00 GiB.)")
    assert "datamodule.batch_size=4 trainer.accumulate_grad_batches=2" in said


def test_a_full_disk_ends_a_run_in_one_line_and_keeps_its_last_checkpoint(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = torch.save, []

    def full(content: dict[str, Any], file: Any) -> None:
        if len(saved) >= 2:  # the first epoch was the best so far, and the last
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(content, file)
        saved.append(content["epoch"])

    monkeypatch.setattr("dlcpose.runs.checkpoint_io.torch.save", full)
    said = reason(shell("train.py", *SMALL_RUN, "trainer.max_epochs=2"))
    assert ".ckpt: cannot be written (No space left on device). The checkpoint that was there is kept." in said
    (run,) = (here / "outputs" / "resnet_18").glob("*/*")
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert all(read_checkpoint(run / "checkpoints" / name).weights for name in ("best.ckpt", "last.ckpt"))


def test_unwritable_folder_is_reported_before_training(here: Path) -> None:
    (here / "outputs").write_text("a file where the folder should be")
    said = reason(shell("train.py", *SMALL_RUN))
    assert str(here / "outputs") in said or "outputs/" in said


def test_a_detector_that_was_killed_goes_on_before_the_poses(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = (*TOP_DOWN, *TINY_DETECTOR, "trainer.max_epochs=2", "detector.training.epochs=2")
    dlcpose.train(*both, run_dir=here / "straight")
    step, begun = Detection.training_step, []

    def killed(pipeline: Detection, batch: Any, index: int) -> torch.Tensor:
        begun.append(pipeline.current_epoch)
        if begun == [0, 0, 1]:
            raise RuntimeError("killed")
        return step(pipeline, batch, index)

    monkeypatch.setattr(Detection, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        dlcpose.train(*both, run_dir=here / "stopped")
    dlcpose.train(*both, "resume=last", run_dir=here / "stopped")
    assert begun == [0, 0, 1, 1, 1]  # two steps in each of two epochs
    assert_same_run(here / "straight" / "detector", here / "stopped" / "detector")
    assert_same_run(here / "straight", here / "stopped")


def test_a_job_that_slurm_pre_empts_is_queued_again_and_goes_on_in_its_folder(tmp_path: Path) -> None:
    requested, program = tmp_path / "asked.txt", tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> "{requested}"\n')
    program.chmod(0o755)
    settings = {
        "OMP_NUM_THREADS": "1",
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": "77",
    }
    # Of the ten epochs none is the last before the signal comes.
    command = (REPOSITORY / "train.py", *SMALL_RUN, "name=mice", "trainer.max_epochs=10")
    first = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=tmp_path,
        env={**os.environ, **settings, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert any(line.startswith("epoch 1/10") for line in first.stdout)
    first.send_signal(signal.SIGUSR1)
    _, err = first.communicate(timeout=600)
    assert first.returncode == 128 + signal.SIGUSR1, err
    assert "dlcpose: stopped by SIGUSR1, saved " in err
    assert requested.read_text() == "requeue 77\n"
    (run,) = (tmp_path / "outputs" / "mice").glob("*/*")
    done = content(run / "checkpoints" / "last.ckpt")["epoch"]
    assert not (run / "evaluation").exists()

    again = python(*command, cwd=tmp_path, **settings, SLURM_RESTART_COUNT="1")
    assert again.code == 0, again.err
    assert list((tmp_path / "outputs" / "mice").glob("*/*")) == [run]  # whatever the clock says by now
    epochs = [int(line.split("/")[0].removeprefix("epoch ")) for line in again.out.splitlines() if "epoch " in line]
    assert epochs[0] > max(1, done)
    assert epochs == list(range(epochs[0], 11))
    assert (run / "evaluation" / "metrics.json").exists()
    assert requested.read_text() == "requeue 77\n"
