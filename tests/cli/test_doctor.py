"""`dlcpose doctor` on this machine, and what it says where something is wrong."""

from pathlib import Path

import pytest

from dlcpose.cli import doctor
from dlcpose.cli.doctor import Finding
from tests.cli.test_app import dlcpose

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.mark.filterwarnings("error:Converting a tensor")  # no warning of torch's in the answer
def test_a_machine_that_can_train_is_well(here: Path, capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 0.0)
    for name in ("MIN_DISK_GB", "MIN_MEMORY_GB", "MIN_SHARED_MB"):
        monkeypatch.setattr(doctor, name, 0.0)
    answer = dlcpose(capsys, monkeypatch, "doctor", "--offline")
    assert answer.code == 0, answer.out + answer.err
    for what in ("versions: python", "processor:", "disk:", "training: 2 steps"):
        assert f"ok {what}" in answer.out
    assert answer.last_line == "nothing is wrong"


def test_what_is_wrong_is_said_with_what_to_do(here: Path, capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setattr(doctor, "MIN_DISK_GB", 1e9)
    monkeypatch.setattr(doctor, "HUB", "http://127.0.0.1:9")

    def fails() -> list[Finding]:
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr(doctor, "_training", fails)
    answer = dlcpose(capsys, monkeypatch, "doctor")
    assert answer.code == 1
    for line in (
        "!! disk:",
        "!! hub: http://127.0.0.1:9 cannot be reached",
        "!! fails: RuntimeError: no kernel image is",
    ):
        assert line in answer.out
    assert "checkpoint_path" in answer.out
    assert "Traceback" not in answer.out + answer.err
