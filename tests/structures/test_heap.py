import ctypes
import subprocess
import sys
from typing import Any

import pytest

from dlcpose.structures import heap
from dlcpose.structures.heap import keep_freed_memory, trim_heap

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
    heap._function_of_libc.cache_clear()
    trim_heap()
    trim_heap()
    keep_freed_memory()
    assert requested == [None, None]  # each function is looked up once
    heap._function_of_libc.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_memory_between_what_is_kept_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 100


PAGES_OF_ARRAYS = """
import resource, sys
import torch
from dlcpose.structures.heap import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    torch.ones(20_000_000)  # 80 MB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's mallopt, and Linux's count of pages")
def test_arrays_take_the_memory_of_those_before() -> None:
    def pages(choice: str) -> int:
        command = [sys.executable, "-c", PAGES_OF_ARRAYS, choice]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert pages("kept") < 0.5 * pages("returned")  # the first few need new ones: small things lie between them
