"""Benchmarks are no part of the package: that they still fit it shows here, not when somebody wants a figure."""

import json
import runpy
from pathlib import Path

import pytest

from tests.shells import python

ROOT = Path(__file__).parents[1]
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.fixture(autouse=True)
def _beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))  # as when one is run


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_import_and_print_their_usage(path: Path) -> None:
    module = runpy.run_path(str(path), run_name="imported")
    assert callable(module["main"])
    assert f"python benchmarks/{path.name}" in module["__doc__"]


# Those that need no data and no other program, as small as they go.
SMALL = {
    "assembly": ("--animals", "1", "--rounds", "2"),
    "dekr_step": ("--batch", "1", "--size", "64", "--keypoints", "3", "--steps", "1"),
    "filters": ("--frames", "50", "--noise", "1.0", "--outliers", "0.0", "--fps", "10.0"),
    "large_sets": ("--images", "20", "--read", "8", "--animals", "10"),
    "tracking": ("--animals", "2", "--minutes", "0.05", "--noise", "light"),
    "training_rate": ("model=resnet_18", "--rounds", "1", "--steps", "1"),
    "video": ("--model", "resnet_18", "--size", "64", "64", "--batch", "1", "--batches", "1", "--rounds", "1"),
    "video of two animals": (
        *("--model", "top_down_resnet_18", "--size", "64", "64", "--batch", "1", "--batches", "1", "--rounds", "1"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_benchmarks_measure_something(name: str, tmp_path: Path) -> None:
    answer = python(
        ROOT / "benchmarks" / f"{name.split()[0]}.py", *SMALL[name], "--json", tmp_path / "figures.json", cwd=tmp_path
    )
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "figures.json").read_text())["rows"]


def test_page_of_benchmarks_is_what_their_figures_say() -> None:
    module = runpy.run_path(str(ROOT / "benchmarks" / "all.py"), run_name="imported")
    figures = json.loads((ROOT / "docs" / "benchmarks.json").read_text())
    assert set(figures) <= {run.name for run in module["RUNS"]}
    assert (ROOT / "docs" / "benchmarks.md").read_text() == module["page_of"](figures)


def test_report_keeps_every_row_and_how_it_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = runpy.run_path(str(ROOT / "benchmarks" / "report.py"), run_name="imported")
    monkeypatch.setattr("sys.argv", ["/somewhere/video.py", "--batch", "2", "/home/me/mouse.mp4", "--json", "x.json"])
    report = module["Report"]("What it costs", "cpu", "A note.")
    report.add({"model": "a|b", "frames/s": 1234.5})
    report.add({"model": "c", "share": 0.98765})
    report.finish(tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["command"] == "python benchmarks/video.py --batch 2 mouse.mp4"
    text = module["as_markdown"](figures)
    assert "| a\\|b | 1234 |  |" in text
    assert "| c |  | 0.988 |" in text
    assert text.endswith("A note.\n")
