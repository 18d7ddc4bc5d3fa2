import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dlcpose
from dlcpose.runs.distributed import is_follower
from dlcpose.structures.environment import COUNTS, check_environment, is_running, peak_memory_mb, system_identity
from dlcpose.structures.errors import ConfigError


@pytest.mark.parametrize("value", ["abc", "", "-1", "1.5", "²", "9" * 5000])
def test_a_count_that_is_none_is_told_before_a_library_reads_it(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_environment()
    for name in COUNTS:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(ConfigError, match=f"^{name}="):
                check_environment()
            with pytest.raises(dlcpose.DlcposeError):
                _ = dlcpose.load


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLURM_RESTART_COUNT", "1"),
        ("SLURM_JOB_ID", "4160749569"),  # of the 62nd cluster of a federation
        ("WORLD_SIZE", "1"),
        ("RANK", "0"),
        ("MASTER_PORT", "65535"),
    ],
)
def test_a_count_within_its_bounds_is_taken(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    check_environment()


@pytest.mark.parametrize(
    ("name", "value"), [("LOCAL_WORLD_SIZE", "0"), ("SLURM_NNODES", "0"), ("MASTER_PORT", "65536")]
)
def test_a_count_that_is_too_small_or_too_large_is_told(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"^{name}={value}: expected a whole number from 1 to \d+, "):
        check_environment()


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({"TORCHELASTIC_RUN_ID": "x"}, "WORLD_SIZE"),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2"}, "RANK"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "SLURM_PROCID"),
    ],
)
def test_what_a_launcher_has_not_set_is_told(
    given: dict[str, str], lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"^{lacks}: "):
        is_follower()


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
