import ctypes
import subprocess
import sys
from typing import Any

import pytest

from dlcpose.structures import heap
from dlcpose.structures.heap import trim_heap

PROGRAM = """
from pathlib import Path
from dlcpose.structures.heap import trim_heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

blocks = [bytes(20_000) for _ in range(10_000)]  # 200 MB from the heap, with a pin at the end of every other
pins = blocks[::100]
blocks.clear()
before = resident()
trim_heap()
print(before - resident())
"""


def test_a_system_without_glibc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str | None) -> Any:
        requested.append(name)
        raise OSError

    requested: list[str | None] = []
    monkeypatch.setattr(ctypes, "CDLL", no_library)
    heap._malloc_trim.cache_clear()
    trim_heap()
    trim_heap()
    assert requested == [None]  # looked up once
    heap._malloc_trim.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_memory_between_what_is_kept_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 100
