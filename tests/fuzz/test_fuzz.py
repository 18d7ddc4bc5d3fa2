"""A quick run of the fuzzer over all readers; `python benchmarks/fuzz.py` is the long one."""

from pathlib import Path

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    result = fuzz(name, 150 if name in ("checkpoint", "video") else 400, tmp_path)
    assert not result["failures"], result["failures"][:3]
    assert result["refused"] > 0
