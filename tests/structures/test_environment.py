import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dlcpose
from dlcpose.structures.environment import COUNTS, check_environment, is_running, peak_memory_mb, system_identity
from dlcpose.structures.errors import ConfigError


@pytest.mark.parametrize("value", ["abc", "", "-1", "1.5", "²"])
def test_a_count_that_is_none_is_told_before_a_library_reads_it(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_environment()
    for name in COUNTS:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(ConfigError, match=f"^{name}="):
                check_environment()
            with pytest.raises(dlcpose.DlcposeError):
                _ = dlcpose.load


def test_most_memory_counts_what_has_been_given_back() -> None:
    before = peak_memory_mb()
    held = np.ones((256, 2**20), np.uint8)
    del held
    assert peak_memory_mb() >= before
    with Path("/proc/self/status").open(encoding="utf-8") as file:
        (peak,) = [int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM")]
    assert peak_memory_mb() == pytest.approx(peak, rel=0.02)


def test_a_system_has_one_name_for_all_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from dlcpose.structures.environment import system_identity as i; print(i())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert told == system_identity()
    assert (int(told, 16) != 0) == (sys.platform == "linux")
    monkeypatch.setattr(Path, "readlink", lambda path: Path("pid:[7]"))
    assert system_identity() != told or sys.platform != "linux"


def test_a_process_runs_until_it_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_running(child.pid)
    assert is_running(os.getpid())
    child.communicate(b"\n")
    assert not is_running(child.pid)
