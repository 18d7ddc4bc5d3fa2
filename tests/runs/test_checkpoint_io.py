"""A checkpoint is there whole or not at all, whatever happens as it is written."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dlcpose.runs.checkpoint_io import WholeFiles
from dlcpose.structures.atomic_files import leftovers
from dlcpose.structures.errors import CheckpointError

FIRST, SECOND = {"weights": torch.zeros(10_000)}, {"weights": torch.ones(10_000)}


def held(path: Path) -> float:
    read: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return float(read["weights"].mean())


def in_a_process_of_its_own(action: Callable[[], None]) -> int:
    """How a process ended that did this: 0, 1 for an exception, or minus a signal."""
    child = os.fork()
    if not child:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_next_takes_the_place_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    for content in (FIRST, SECOND):
        WholeFiles(tmp_path).save_checkpoint(content, path)
    assert held(path) == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("written", [0.0, 0.1, 0.5, 0.999])
def test_killed_as_it_writes_it_leaves_the_last_one(written: float, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeFiles(tmp_path).save_checkpoint(FIRST, path)
    whole = path.stat().st_size

    def save() -> None:
        save_all = torch.save

        def save_some(content: object, file: object) -> None:
            save_all(content, file)
            file.truncate(int(written * whole))  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)

        torch.save = save_some
        WholeFiles(tmp_path).save_checkpoint(SECOND, path)

    assert in_a_process_of_its_own(save) == -signal.SIGKILL
    assert held(path) == 0
    WholeFiles(tmp_path).save_checkpoint(SECOND, path)
    assert held(path) == 1
    assert {*tmp_path.iterdir()} - {*leftovers(path)} == {path}


def test_full_disk_keeps_the_last_checkpoint_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeFiles(tmp_path).save_checkpoint(FIRST, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, limits[1]))
    try:
        with pytest.raises(
            CheckpointError, match=r"cannot be written \(File too large\). The checkpoint that was there"
        ) as raised:
            WholeFiles(tmp_path).save_checkpoint(SECOND, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(path) in str(raised.value)
    assert held(path) == 0
    assert list(tmp_path.iterdir()) == [path]


def test_only_the_runs_own_checkpoints_are_removed(tmp_path: Path) -> None:
    folder, victim = tmp_path / "checkpoints", tmp_path / "victim"
    for path in (folder / "old.ckpt", folder / "inner" / "a.ckpt", victim / "thesis.tex", tmp_path / "a.ckpt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (folder / "link.ckpt").symlink_to(victim / "thesis.tex")
    files = WholeFiles(folder)
    for path in (
        *(victim, victim / "thesis.tex", tmp_path / "a.ckpt", folder / "inner", folder / "inner" / "a.ckpt"),
        *(folder / ".." / "a.ckpt", folder / "link.ckpt", folder / "gone.ckpt", folder),
        *(f"local://{victim}", f"file://{victim}", f"file://{folder}/old.ckpt", f"reference::{folder}/old.ckpt", ""),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(CheckpointError, match="expected a checkpoint of this run to remove"):
            files.remove_checkpoint(path)
        assert sorted(tmp_path.rglob("*")) == before
    files.remove_checkpoint(folder / "old.ckpt")
    assert not (folder / "old.ckpt").exists()


def test_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(CheckpointError, match="No checkpoint was there before"):
        WholeFiles(tmp_path).save_checkpoint(FIRST, tmp_path / "checkpoints" / "last.ckpt")
