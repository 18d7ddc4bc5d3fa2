"""`dlcpose compare` on folders whose figures are known, and its page in a real browser."""

import contextlib
import errno
import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from html import unescape
from pathlib import Path

import pytest
import yaml

from dlcpose.metrics.figure_info import FigureInfo
from dlcpose.reports.comparison_page import command_of, summary
from dlcpose.reports.comparison_plots import axis_over
from dlcpose.runs.comparison import _has_programs, comparison_of, read_run, run_folders, short_names
from dlcpose.structures.errors import DataError
from tests.cli.test_app import dlcpose
from tests.runs.made_up_sweeps import error_of, made_up_run, made_up_sweep
from tests.shells import chromium, reason

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def test_a_sweep_is_compared(here: Path, capsys: Capture, monkeypatch: Patch) -> None:
    made_up_sweep(here / "rates")
    answer = dlcpose(capsys, monkeypatch, "compare", "rates")
    assert answer.code == 0, answer.err
    rows = [line for line in answer.out.splitlines() if re.match(r"\s*\w+_\w?\d+ +0\.", line)]
    assert len(rows) == 6
    assert re.search(r"hrnet_w32 +0\.001 +2 +2\.95 ± 0\.07 ", rows[0])
    assert answer.last_line == "rates/comparison/comparison.html"
    assert json.loads((here / "rates/comparison/comparison.json").read_text())["ranked_by"] == "val/mean_error_px"
    # Its own folder is no run: the same command gives the same.
    assert dlcpose(capsys, monkeypatch, "compare", "rates").out == answer.out


def test_figures_are_whole_in_a_narrow_terminal_and_long_values_do_not_reach_the_next_axis(
    here: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    for root in ("/data/somebody/mice-2026-01-01", "/data/somebody-else/rats-2026-01-01"):
        run = made_up_run(here / "a" / root[-15:], "resnet_18", 0.001, 0)
        entry = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**entry, "config": {**entry["config"], "dataset": {"root": root}}}))
    answer = dlcpose(capsys, monkeypatch, "compare", "a", columns=60)
    assert answer.code == 0, answer.err
    assert "…" not in answer.out
    figures = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert f"{figures['mean_error_px']:.2f}" in answer.out
    page = (here / "a" / "comparison" / "comparison.html").read_text()
    assert ">…ebody/mice-2026-01-01<title>/data/somebody/mice-2026-01-01</title>" in page


@pytest.mark.parametrize(
    ("columns", "head"),
    [
        (120, ["val test test Time", "model lr runs mean_error_px mean_error_px pck@0.1 (min)"]),
        (68, ["val test", "mean_ mean_ test Time", "model lr runs error_px error_px pck@0.1 (min)"]),
    ],
)
def test_headings_say_which_frames_and_break_between_words(
    columns: int, head: list[str], here: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    made_up_sweep(here / "rates")
    lines = dlcpose(capsys, monkeypatch, "compare", "rates", columns=columns).out.splitlines()
    rule = next(place for place, line in enumerate(lines) if "──" in line)
    assert [" ".join(line.split()) for line in lines[rule - len(head) : rule]] == head
    assert len(lines[rule]) <= columns


def test_runs_of_anywhere_are_compared(here: Path, capsys: Capture, monkeypatch: Patch) -> None:
    made_up_run(here / "a" / "x", "resnet_18", 0.001, 0)
    made_up_run(here / "b" / "x", "dekr_w18", 0.001, 0)
    answer = dlcpose(capsys, monkeypatch, "compare", "a/x", "b", "a", "--output", "both", "--by", "pck@0.1")
    assert answer.code == 0, answer.err
    content = json.loads((here / "both" / "comparison.json").read_text())
    assert [run["folder"] for run in content["runs"]] == ["b/x", "a/x"]
    assert (content["ranked_by"], content["lower_is_better"]) == ("pck@0.1", False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nowhere",), "nowhere: "),
        (("empty",), "empty: "),
        (("rates", "--by", "val/pck"), "--by val/pck: "),
    ],
)
def test_mistakes(arguments: tuple[str, ...], expected: str, here: Path, capsys: Capture, monkeypatch: Patch) -> None:
    (here / "empty").mkdir()
    made_up_run(here / "rates" / "x", "resnet_18", 0.001, 0)
    assert reason(dlcpose(capsys, monkeypatch, "compare", *arguments)).startswith(expected)


def test_the_command_of_the_best_run_is_printed(here: Path, capsys: Capture, monkeypatch: Patch) -> None:
    made_up_sweep(here / "rates")
    answer = dlcpose(capsys, monkeypatch, "compare", "rates")
    assert answer.out.splitlines()[-2] == (
        "model-hrnet_w32__optimizer.lr-0.001__seed-0 again: python train.py model=hrnet_w32 optimizer.lr=0.001 seed=0"
    )


def test_a_folder_of_options_is_known_without_run_json_too(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("[experiment=sharp, seed=3]")
    assert command_of(read_run(tmp_path, "x")) == "python train.py experiment=sharp seed=3"
    sources = [("hydra.conf", "pkg://hydra.conf", "hydra"), ("/lab/my lab", "file", "command-line")]
    described = [{"path": path, "schema": schema, "provider": provider} for path, schema, provider in sources]
    (tmp_path / ".hydra" / "hydra.yaml").write_text(
        yaml.safe_dump({"hydra": {"runtime": {"config_sources": described}}})
    )
    assert command_of(read_run(tmp_path, "x")) == "python train.py --config-dir '/lab/my lab' experiment=sharp seed=3"


def test_what_failed_or_was_killed_is_said(here: Path, capsys: Capture, monkeypatch: Patch) -> None:
    made_up_run(here / "s" / "good", "resnet_18", 0.001, 0)
    made_up_run(here / "s" / "bad", "resnet_18", 9.0, 0, status="failed", optimized_metric={}, error="a.png: no image.")
    made_up_run(here / "s" / "cut", "resnet_18", 0.5, 0, status="running", optimized_metric={})
    answer = dlcpose(capsys, monkeypatch, "compare", "s")
    assert answer.code == 0, answer.err
    assert "not finished: bad: a.png: no image.\n" in answer.out
    assert "not finished: cut: killed, or still running\n" in answer.out


def test_the_run_to_repeat_is_a_finished_one(here: Path, capsys: Capture, monkeypatch: Patch) -> None:
    failed = {"status": "failed", "optimized_metric": {}, "error": "CUDA out of memory"}
    made_up_run(here / "s" / "a", "resnet_18", 0.001, 0, **failed)
    assert "again:" not in (answer := dlcpose(capsys, monkeypatch, "compare", "s")).out
    assert (answer.code, "no run has figures" in answer.out) == (0, True)
    made_up_run(here / "s" / "b", "resnet_18", 0.001, 0)
    assert "\nb again: python train.py" in dlcpose(capsys, monkeypatch, "compare", "s").out


@pytest.mark.parametrize("rates", [(math.inf, 1.0, 100.0), (math.nan, math.nan, 1.0), (10**400, [math.nan], 1.0)])
def test_settings_that_are_not_finite_are_compared_as_texts(
    rates: tuple[object, ...], here: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    for number, rate in enumerate(rates):
        config = {"seed": 0, "optimizer": {"lr": rate}, "optimized_metric": "val/mean_error_px"}
        value = {"val/mean_error_px": [1.0, 2.0, -1e300][number]}
        made_up_run(here / "s" / str(number), "resnet_18", 0.001, 0, config=config, optimized_metric=value)
    answer = dlcpose(capsys, monkeypatch, "compare", "s")
    assert answer.code == 0, answer.err
    runs = json.loads((here / "s" / "comparison" / "comparison.json").read_text())["runs"]
    found = {run["folder"]: run["settings"]["optimizer.lr"] for run in runs}
    texts = {math.inf: "inf", 10**400: str(10**400)}
    for number, rate in enumerate(rates):
        expected = ["nan"] if isinstance(rate, list) else "nan" if rate != rate else texts.get(rate, rate)
        assert found[f"s/{number}"] == expected


def test_a_detector_within_a_run_is_none_of_its_own(here: Path) -> None:
    run = made_up_run(here / "run", "resnet_18", 0.001, 0)
    made_up_run(run / "detector", "resnet_18", 0.001, 0)
    assert run_folders(here) == [here / "run"]


def test_links_that_lead_back_are_followed_once(here: Path) -> None:
    run = made_up_run(here / "runs" / "run", "resnet_18", 0.001, 0)
    for name in "abcde":  # followed wherever they are found, they would be 5^40 folders
        (here / "runs" / name).symlink_to(here, target_is_directory=True)
    assert {folder.resolve() for folder in run_folders(here / "runs")} == {run.resolve()}


def test_folders_a_thousand_deep_are_looked_into(here: Path, monkeypatch: Patch) -> None:
    run = made_up_run(here / "runs" / "z", "resnet_18", 0.001, 0)
    monkeypatch.chdir(here / "runs")
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    try:
        assert run_folders(here / "runs") == [run]
    finally:
        for _ in range(1200):  # pytest would go down into them to remove them
            os.chdir("..")
            Path("d").rmdir()


def test_of_equally_good_trials_the_first_is_the_best(here: Path) -> None:
    for trial, sigma in enumerate((9, 4, 5, 12)):  # not the order of their folders
        run = made_up_run(here / "s" / f"sigma-{sigma}", "resnet_18", 0.001, 0, overrides=[f"sweep.trial={trial}"])
        entry = json.loads((run / "run.json").read_text())
        entry["config"]["head"], entry["optimized_metric"] = {"sigma": sigma}, {"val/mean_error_px": 2.0 - (trial == 3)}
        (run / "run.json").write_text(json.dumps(entry))
    made = comparison_of([here / "s"])
    assert [each.name for each in made.runs] == ["sigma-12", "sigma-9", "sigma-4", "sigma-5"]


def test_jobs_without_a_study_stand_in_the_order_of_their_numbers(here: Path) -> None:
    for number in (0, 10, 2):
        made_up_run(here / "s" / str(number), "resnet_18", 0.001, 0)
    assert [folder.name for folder in run_folders(here / "s")] == ["0", "2", "10"]


def test_names_are_what_tells_folders_apart() -> None:
    assert short_names([Path("/s/a/1/x"), Path("/s/a/2/x")]) == ["1/x", "2/x"]
    assert short_names([Path("/s/a/1")]) == ["1"]
    assert short_names([Path("/s/a"), Path("/s/a/b")]) == ["a", "a/b"]


def test_a_run_from_before_there_was_a_record(here: Path) -> None:
    run = made_up_run(here / "old", "resnet_18", 0.001, 0)
    (run / "run.json").unlink()
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text("seed: 3\noptimized_metric: ${best.monitor}\n")
    (run / ".hydra" / "overrides.yaml").write_text("- seed=3\n")
    read = read_run(run, "old")
    assert (read.status, read.settings["seed"], read.overrides) == ("finished", 3, ("seed=3",))
    assert read.figures["mean_error_px"] == pytest.approx(error_of("resnet_18", 0.001, 0) + 0.25)
    assert comparison_of([run]).ranked_by == "mean_error_px"


def test_torn_files_do_not_stop_it(here: Path) -> None:
    run = made_up_run(here / "torn", "resnet_18", 0.001, 0)
    (run / "metrics.csv").write_text("epoch,step,val/loss\n0,9,0.5\n1,1")
    (run / "evaluation" / "metrics.json").write_text('{"mean_error')
    read = read_run(run, "torn")
    assert read.curves == {"val/loss": [(0.0, 0.5)]}
    assert read.figures.keys() == {"val/mean_error_px"}
    (run / "run.json").write_text("{")
    (run / "evaluation" / "metrics.json").unlink()
    with pytest.raises(DataError, match="no run"):
        comparison_of([run])


def test_what_matters_in_a_study_is_said_by_optuna(here: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="Optuna is an extra: pip install 'dlcpose[sweep]'")
    pytest.importorskip("sklearn", reason="Optuna's importance needs scikit-learn")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    (here / "s").mkdir()
    sampler = optuna.samplers.RandomSampler(seed=0)  # unseeded, one study of a few dozen favours the other setting
    study = optuna.create_study(storage="sqlite:///s/study.db", study_name="s", sampler=sampler)
    for number in range(16):
        trial = study.ask()
        rate, seed = trial.suggest_float("optimizer.lr", 1e-4, 1e-2), trial.suggest_int("other", 0, 9)
        trial.suggest_int("sweep.trial", number, number)
        study.tell(trial, rate)
        made_up_run(here / "s" / str(number), "resnet_18", rate, 0, overrides=[f"optimizer.lr={rate}", f"other={seed}"])
    for run in (here / "s").glob("*/run.json"):
        entry = json.loads(run.read_text())
        entry["config"]["other"] = int(entry["overrides"][1].partition("=")[2])
        run.write_text(json.dumps(entry))
    made = comparison_of([here / "s"])
    assert made.importance["optimizer.lr"] > 0.8 > made.importance["other"]
    assert "16 trials" in made.importance_note


@pytest.mark.parametrize("content", ["", "sqlite"])
def test_a_database_beside_runs_is_read_and_never_written(here: Path, content: str) -> None:
    """Optuna would make its tables in whatever a study.db is, or leads to."""
    pytest.importorskip("optuna", reason="Optuna is an extra: pip install 'dlcpose[sweep]'")
    made_up_sweep(here / "s")
    victim = here / "bookmarks.db"
    if content:
        with contextlib.closing(sqlite3.connect(victim)) as database, database:
            database.execute("create table bookmarks (page)")
    else:
        victim.touch()
    before = victim.read_bytes()
    (here / "s" / "study.db").symlink_to(victim)
    assert len(comparison_of([here / "s"]).runs) > 1
    assert victim.read_bytes() == before


def test_a_database_that_computes_without_end_is_not_read(here: Path) -> None:
    made_up_sweep(here / "s")
    with contextlib.closing(sqlite3.connect(here / "s" / "study.db")) as database, database:
        endless = "with recursive n(i) as (select 1 union all select i + 1 from n)"
        database.execute(f"create view studies as {endless} select i as study_id, 'a' as study_name from n where i < 0")
    assert _has_programs(here / "s" / "study.db")
    assert len(comparison_of([here / "s"]).runs) == 12


def test_a_folder_that_may_not_be_read_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_sweep(here / "s")

    def refused(folder: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(DataError, match="s: Permission denied"):
        comparison_of([here / "s"])


@pytest.mark.parametrize("seed", [[1, 2], {}], ids=["list", "names"])
def test_a_seed_of_another_kind_is_compared(seed: object, here: Path) -> None:
    for number, each in enumerate((seed, 1)):
        run = made_up_run(here / "s" / str(number), "resnet_18", 0.001, number)
        content = json.loads((run / "run.json").read_text())
        content["config"]["seed"] = each
        (run / "run.json").write_text(json.dumps(content))
    assert "2 seeds" in summary(comparison_of([here / "s"]))


@pytest.mark.parametrize("values", [(5e-324, 1.0), (0.0, 5e-324), (-1.7e308, 1.7e308)])
def test_an_axis_of_any_numbers_has_ticks(values: tuple[float, float]) -> None:
    axis = axis_over(values)
    assert all(0 <= axis.share(value) <= 1 for value in values)


@pytest.mark.parametrize("epoch", ["nan", "inf", "-1", "1e300"])
def test_curves_of_epochs_that_are_none_are_not_drawn(here: Path, epoch: str) -> None:
    run = made_up_run(here / "run", "resnet_18", 0.001, 0)
    (run / "metrics.csv").write_text(f"epoch,step,val/loss\n0,9,0.5\n{epoch},9,0.4\n")
    assert read_run(run, "run").curves == {}


@pytest.mark.parametrize("file", ["run.json", "evaluation/metrics.json"])
def test_figures_that_no_axis_has_room_for_are_refused(file: str, here: Path) -> None:
    run = made_up_run(here / "run", "resnet_18", 0.001, 0)
    content = json.loads((run / file).read_text())
    content |= {"optimized_metric": {"val/mean_error_px": 1e308}} if file == "run.json" else {"mean_error_px": -1e308}
    (run / file).write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"{file}.*mean_error_px.*1e\+308"):
        read_run(run, "run")


def rows_of(page: str, table: str) -> list[list[str]]:
    """The cells of a table's body, as text."""
    body = re.search(rf'<table id="{table}">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr.*?</tr>", body[1], re.DOTALL)
    cells = [re.findall(r"<td.*?>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[unescape(re.sub(r"<.*?>", "", cell)).strip() for cell in row] for row in cells]


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    found = chromium(tmp_path / "profile")
    return found or pytest.skip("no Chromium on this machine: apt-get install chromium")


def test_the_page_in_a_real_browser(here: Path, browser: list[str], capsys: Capture, monkeypatch: Patch) -> None:
    made_up_sweep(here / "rates")
    assert dlcpose(capsys, monkeypatch, "compare", "rates").code == 0
    page = here / "rates" / "comparison" / "comparison.html"
    # A click on a column and a look at a row, as a reader does; then what the browser has made of the page.
    script = """<script>
      const click = (n) => document.querySelectorAll("#runs th button")[n].click();
      click(2); click(2);
      document.querySelector("#settings tbody tr").dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
      document.body.dataset.marked = document.querySelectorAll("svg .on").length;
      document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
    </script></body>"""
    page.write_text(page.read_text().replace("</body>", script))
    dumped = subprocess.run(
        [*browser, "--window-size=1200,900", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    settings = rows_of(dumped, "settings")
    assert settings[0][:5] == ["hrnet_w32", "0.001", "2", "2.95 ± 0.07", "3.20 ± 0.07"]
    assert settings[-1][:4] == ["resnet_18", "0.0003", "2", "4.65 ± 0.07"]
    runs = rows_of(dumped, "runs")
    assert [row[2] for row in runs] == ["1"] * 6 + ["0"] * 6  # sorted by seed, falling
    assert {row[4] for row in runs} >= {"2.90", "3.00", "4.70"}
    assert '<p class="sub" id="summary">12 runs · 3 of model · 2 of optimizer.lr · 2 seeds</p>' in dumped
    marked = re.search(r'data-marked="(\d+)"', dumped)
    assert marked is not None
    assert int(marked[1]) >= 8  # the setting's curves, points and lines
    assert 'data-wide="false"' in dumped


def test_values_and_errors_that_look_like_markup_are_printed_as_they_are(
    here: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    for number, value in enumerate(("[/b]", "x[red]", "a\x1b[2Jb")):
        made_up_run(here / "s" / str(number), "resnet_18", 0.001, 0, overrides=[f"my={value}"], choices={"my": value})
    made_up_run(here / "s" / "bad", "resnet_18", 1.0, 0, status="failed", optimized_metric={}, error="x\x1b[2J: no.")
    answer = dlcpose(capsys, monkeypatch, "compare", "s")
    assert answer.code == 0, answer.err
    assert all(text in answer.out for text in ("[/b]", "x[red]", "a\\x1b[2Jb"))
    assert "\x1b[2J" not in answer.out


def test_the_command_of_a_run_is_printable(here: Path, capsys: Capture, monkeypatch: Patch) -> None:
    made_up_run(here / "s" / "a", "resnet_18", 0.001, 0, overrides=["my=\x07b\nforged: line"])
    answer = dlcpose(capsys, monkeypatch, "compare", "s")
    assert "my=\\x07b\\nforged: line" in answer.out


def test_runs_without_facts_about_their_figures_are_ranked_by_those_of_our_metrics(here: Path) -> None:
    made_up_sweep(here / "rates")
    for path in (here / "rates").glob("*/evaluation/metrics_info.json"):
        path.write_text("{}")
    made = comparison_of([here / "rates"], by="mean_error_px")
    assert made.is_lower_better(made.ranked_by)
    assert made.settings[0].values == ("hrnet_w32", 0.001)


def test_without_test_frames_a_figure_of_ones_own_is_ranked_as_its_run_states(here: Path) -> None:
    info = {"lag_px": asdict(FigureInfo("lag", "px", 1, higher_is_better=False))}
    for name, value in (("a", 2.0), ("b", 1.0)):
        own = {"optimized_metric": {"val/lag_px": value}, "choices": {"model": name}, "metrics_info": info}
        made_up_run(here / "s" / name, "resnet_18", 0.001, 0, **own)
        shutil.rmtree(here / "s" / name / "evaluation")
    made = comparison_of([here / "s"], by="val/lag_px")
    assert [run.choices["model"] for run in made.runs] == ["b", "a"]
