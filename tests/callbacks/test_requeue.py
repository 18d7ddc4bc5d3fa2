import os
import signal
from pathlib import Path

import pytest

from dlcpose.callbacks.requeue import PATIENCE, requeue, requeue_on_signal


@pytest.fixture
def requested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in for SLURM's `scontrol` writes what it is asked for, within the job 4242."""
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    program, found = tmp_path / "bin" / "scontrol", tmp_path / "asked.txt"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> "{found}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(program.parent), os.environ["PATH"]]))
    monkeypatch.setenv("SLURM_JOB_ID", "4242")
    return found


def test_a_job_is_queued_again_by_its_number(requested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requeue()
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    requeue()
    assert requested.read_text(encoding="utf-8") == "requeue 4242\nrequeue 70_3\n"


def test_failed_requeue_is_reported(
    requested: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (requested.parent / "bin" / "scontrol").write_text("#!/bin/sh\nexit 3\n")
    requeue()
    assert "scontrol requeue 4242 failed (3): submit the job again." in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    requeue()
    assert "scontrol requeue 4242 failed (2): submit the job again." in capsys.readouterr().err


def test_signal_at_any_moment_requeues_once(requested: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(SystemExit) as ended, requeue_on_signal(is_first=True):  # noqa: PT012
        try:
            signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.raise_signal(signal.SIGUSR1)  # as it may come from srun and from who started this process
    assert ended.value.code == 128 + signal.SIGUSR1
    assert requested.read_text(encoding="utf-8") == "requeue 4242\n"
    assert signal.getsignal(signal.SIGUSR1) == before


def test_the_other_processes_of_a_run_end_later_and_ask_for_nothing(requested: Path) -> None:
    with requeue_on_signal(is_first=False):
        signal.raise_signal(signal.SIGUSR1)
        assert 0 < signal.alarm(0) <= PATIENCE
    assert not requested.exists()


def test_outside_of_slurm_the_signal_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = signal.getsignal(signal.SIGUSR1)
    with requeue_on_signal(is_first=True):
        assert signal.getsignal(signal.SIGUSR1) == before
