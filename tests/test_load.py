"""Long work does not grow; `python benchmarks/load.py` is longer."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(("work", "count"), [("train", 4_000), ("predict", 20_000)])
def test_long_work_does_not_grow(work: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = runpy.run_path(str(BENCHMARKS / "load.py"), run_name="imported")
    row = module["Watch"](0.5).run(module[work](count, tmp_path))
    assert row["count"] == count
    assert row["files per 100000"] <= row["files at half"] * 0.01
    assert row["threads at end"] <= row["threads at half"]
    assert row["memory MB at end"] - row["memory MB at half"] < 30  # a leak of 15 kB a step would be 30
