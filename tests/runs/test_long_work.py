"""Long work does not grow; `python benchmarks/load.py` is longer."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "load", raising=False)
    return importlib.import_module("load")


def test_growth_is_the_slope_after_the_warm_up(load: ModuleType) -> None:
    watch = load.Watch(200)
    watch.rows = [(done, max(done, 40) * 1000, 7, 3 + (done > 150)) for done in range(1, 201)]
    found = watch.growth()
    assert found["bytes each"] == pytest.approx(1000)
    assert (found["MB after warm-up"], found["MB at end"]) == pytest.approx((0.051, 0.2))
    assert (found["files each"], found["threads after warm-up"], found["at most "]) == pytest.approx((0, 3, 4))


@pytest.mark.slow
@pytest.mark.parametrize(("work", "count", "bytes_each"), [("train", 400, 16_000), ("predict", 10_000, 2_000)])
def test_long_work_does_not_grow(work: str, count: int, bytes_each: float, load: ModuleType, tmp_path: Path) -> None:
    """A batch that is kept would be more: 12 288 bytes for each image."""
    row = load.Watch(count).run(getattr(load, work)(count, tmp_path))
    assert row["done"] == count
    assert row["bytes each"] < bytes_each
    assert row["at most"] <= row["files after warm-up"] + 2
    assert row["at most "] <= row["threads after warm-up"] + 2
