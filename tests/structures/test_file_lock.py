"""Locks between processes, and within one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.file_lock import alone

TAKEN = ConfigError("held by another")
FREE, HELD = 2, 3


def tried_by_a_child(lock: Path) -> int:
    child = os.fork()
    if child == 0:
        from dlcpose.structures import file_lock

        file_lock._held.clear()  # a fork has what its parent knew
        code = 1
        try:
            with alone(lock, TAKEN):
                code = FREE
        except ConfigError:
            code = HELD
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_another_process_is_kept_out_until_the_end(tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    with alone(lock, TAKEN):
        assert tried_by_a_child(lock) == HELD
    assert tried_by_a_child(lock) == FREE
    assert not list(lock.parent.iterdir())


def test_one_process_is_kept_out_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        alone(tmp_path / ".lock", TAKEN),
        pytest.raises(ConfigError, match="held by another"),
        alone(Path(".lock"), TAKEN),
    ):
        pass
    with alone(tmp_path / ".lock", TAKEN):
        assert tried_by_a_child(tmp_path / ".lock") == HELD


def test_a_killed_process_holds_nothing_nor_do_its_workers(tmp_path: Path) -> None:
    program = """
import os, sys, time
from pathlib import Path
from dlcpose.structures.file_lock import alone
with alone(Path(sys.argv[1]), Exception("held")):
    if os.fork() == 0:
        time.sleep(60)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""
    lock = tmp_path / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], stdout=subprocess.PIPE, start_new_session=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        with pytest.raises(ConfigError), alone(lock, TAKEN):
            pass
        holder.kill()
        holder.wait()
        with alone(lock, TAKEN):  # its worker is still there
            pass
        os.killpg(holder.pid, signal.SIGKILL)


def test_a_file_that_cannot_be_removed_while_it_is_open_is_removed_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    remove, lock = Path.unlink, tmp_path / ".lock"

    def refusing(path: Path, missing_ok: bool = False) -> None:
        if any(number.samefile(path) for number in Path("/proc/self/fd").iterdir() if number.exists()):
            raise PermissionError(f"{path} is open")
        remove(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refusing)
    for _ in range(2):
        with alone(lock, TAKEN):
            assert tried_by_a_child(lock) == HELD
        assert not lock.exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
@pytest.mark.skipif(sys.platform == "win32", reason="it has neither")
def test_a_lock_of_somebody_elses_leads_nowhere(tmp_path: Path, kind: str) -> None:
    lock, canary = tmp_path / ".lock", tmp_path / "elsewhere"
    if kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.symlink_to(canary if kind == "link" else "/dev/null")
    with pytest.raises(DataError, match=r"\.lock: expected no file, .* Remove it"), alone(lock, TAKEN):
        pass
    assert not canary.exists()
