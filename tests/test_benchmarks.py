"""Benchmarks are no part of the package: that they still fit it shows here, not when somebody wants a figure."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_finds_what_it_measures_and_says_how_it_is_called(path: Path) -> None:
    module = runpy.run_path(str(path), run_name="imported")
    assert callable(module["main"])
    assert f"python benchmarks/{path.name}" in module["__doc__"]
