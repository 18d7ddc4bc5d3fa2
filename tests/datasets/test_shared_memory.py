"""As many workers as /dev/shm has room for."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlcpose.datasets import shared_memory
from dlcpose.datasets.shared_memory import affordable_workers


@pytest.mark.parametrize(("room", "expected"), [(0, 0), (2_999_999, 0), (3_000_000, 1), (5_000_000, 2), (10**9, 4)])
def test_there_are_as_many_workers_as_their_batches_have_room(
    room: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each prepares two batches, and one more is being trained on."""
    monkeypatch.setattr(shared_memory, "SHARED", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=room))
    assert affordable_workers(4, 1_000_000) == expected
    assert ("--shm-size" in caplog.text) == (expected < 4)


def test_what_cannot_be_written_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "SHARED", tmp_path)
    monkeypatch.setattr(shared_memory.os, "access", lambda *_: False)
    assert affordable_workers(4, 1) == 0


def test_elsewhere_it_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "SHARED", tmp_path / "none")
    assert affordable_workers(4, 2**40) == 4
