"""The page, the csv and the json say the same, and none of it can bring anything else along."""

import csv
import io
import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dlcpose.reports.comparison import Comparison, compare
from dlcpose.reports.comparison_page import as_csv, as_json, command_of, render_comparison, write_comparison
from dlcpose.runs.comparison import comparison_of
from tests.runs.made_up_sweeps import error_of, made_up_run, made_up_sweep


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return comparison_of([made_up_sweep(tmp_path_factory.mktemp("sweep"))])


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "circle", "line", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_other(made: Comparison, tmp_path: Path) -> None:
    page = render_comparison(made, "three models", tmp_path)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not re.search(r"https?://|@import|url\(", page)
    assert not [tag for tag, attributes in tags.seen if tag in ("link", "img", "iframe") or "src" in attributes]
    links = [str(attributes["href"]) for tag, attributes in tags.seen if tag == "a"]
    assert len(links) == 12
    assert all((tmp_path / link).resolve().is_file() for link in links)


def test_names_are_text_and_never_a_script(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    first = made_up_run(tmp_path / "a", "resnet_18", 0.001, 0, overrides=[f"model={evil}"], choices={"model": evil})
    second = made_up_run(tmp_path / "b", "resnet_18", 0.001, 1, overrides=["model=x"], choices={"model": "x"})
    page = render_comparison(comparison_of([first, second]), evil, tmp_path)
    assert evil not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;" in page


def test_the_csv_holds_every_run(made: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(made))))
    assert len(rows) == 12
    for row in rows:
        expected = error_of(row["model"], float(row["optimizer.lr"]), int(row["seed"]))
        assert float(row["val/mean_error_px"]) == pytest.approx(expected)
        assert float(row["mean_error_px"]) == pytest.approx(expected + 0.25)
    assert [row["model"] for row in rows[:2]] == ["hrnet_w32", "hrnet_w32"]


def test_json_holds_what_the_page_shows(made: Comparison, tmp_path: Path) -> None:
    content = json.loads(json.dumps(as_json(made, "t"), allow_nan=False))
    best = content["settings"][0]
    assert best["values"] == {"model": "hrnet_w32", "optimizer.lr": 0.001}
    assert best["figures"]["val/mean_error_px"]["mean"] == pytest.approx(2.95)
    assert best["figures"]["val/mean_error_px"]["deviation"] == pytest.approx(0.0707, abs=1e-4)
    assert "2.95 ± 0.07" in render_comparison(made, "t", tmp_path)
    assert len(content["runs"]) == 12
    assert content["importance"].keys() == {"model", "optimizer.lr"}


def test_files_are_replaced_whole(made: Comparison, tmp_path: Path) -> None:
    for _ in range(2):
        write_comparison(tmp_path / "out", made, "t")
        assert {path.name for path in (tmp_path / "out").iterdir()} == {
            *("comparison.html", "comparison.csv", "comparison.json")
        }


def test_the_command_of_a_run_survives_the_shell(made: Comparison) -> None:
    run = replace(
        made.runs[0], overrides=("sweep.name=a", "+x='a b'", "model=y", "resume=last", "callbacks=[default,p]")
    )
    assert shlex.split(command_of(run)) == ["python", "train.py", "+x='a b'", "model=y", "callbacks=[default,p]"]


def test_one_run_alone_has_a_page_too(made: Comparison, tmp_path: Path) -> None:
    page = render_comparison(compare(made.runs[:1]), "one", tmp_path)
    assert "2.90" in page
    nothing = replace(made.runs[0], status="unfinished", figures={}, curves={}, costs={})
    assert "killed, or still running" in render_comparison(compare([nothing]), "none", tmp_path)
