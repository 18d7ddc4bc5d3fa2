"""A sweep as a lab runs it: three models, two rates, two seeds, two jobs at once, killed half-way and completed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dlcpose.reports.comparison_page import write_comparison
from dlcpose.runs.comparison import comparison_of
from dlcpose.runs.run_json import read_run_json
from tests.cli.test_compare import rows_of
from tests.shells import REPOSITORY, SMALL, TINY, chromium, python

pytestmark = pytest.mark.slow  # whole runs, each in processes of its own

JOBS = 12
COMMAND = (
    *(REPOSITORY / "train.py", "-m", "hydra/launcher=parallel", "hydra.launcher.n_jobs=2", "sweep.name=models"),
    *("model=resnet_18,hrnet_w18,cspnext_s", "optimizer.lr=1e-3,3e-4", "seed=0,1"),
    *(*SMALL, *TINY[:2], "input.longest_side=64", "datamodule.batch_size=2", "evaluation.pictures=0"),
)


def entries(sweep: Path) -> dict[str, dict[str, Any]]:
    """run.json of each job that has finished, by folder; that of one that is just beginning may still be empty."""
    read = {path.parent.name: read_run_json(path.parent) for path in sweep.glob("*/run.json")}
    return {name: entry for name, entry in read.items() if entry is not None and entry["status"] == "finished"}


def killed_half_way(folder: Path, sweep: Path) -> None:
    """Start the sweep, and kill it with all its processes when a third of its jobs are done."""
    process = subprocess.Popen(
        [sys.executable, *map(str, COMMAND)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    until = time.monotonic() + 1200
    while len(entries(sweep)) < JOBS // 3 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err


def test_killed_half_way_it_is_completed_and_compared(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="an extra: pip install 'dlcpose[sweep]'")
    sweep = tmp_path / "multirun" / "models"
    killed_half_way(tmp_path, sweep)
    before = entries(sweep)
    assert JOBS // 3 <= len(before) < JOBS

    answer = python(*COMMAND, cwd=tmp_path)
    assert answer.code == 0, answer.err[-3000:]
    assert f"sweep multirun/models: {JOBS} done ({len(before)} of them before)" in answer.out
    after = entries(sweep)
    assert len(after) == JOBS
    assert {name: after[name] for name in before} == before  # not done again

    made = comparison_of([sweep])
    write_comparison(tmp_path / "page", made, "models")
    page = (tmp_path / "page" / "comparison.html").read_text()
    rows = rows_of(as_a_browser_has_it(tmp_path / "page" / "comparison.html") or page, "settings")
    assert sorted(tuple(row[:3]) for row in rows) == sorted(
        (model, rate, "2") for model in ("resnet_18", "hrnet_w18", "cspnext_s") for rate in ("0.001", "0.0003")
    )
    for setting, row in zip(made.settings, rows, strict=True):
        values = [after[run.folder.name]["optimized_metric"]["val/mean_error_px"] for run in setting.runs]
        mean, _, deviation = row[3].partition(" ± ")
        assert float(mean) == pytest.approx(sum(values) / 2, abs=0.01)
        assert float(deviation) == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=0.01)


def as_a_browser_has_it(page: Path) -> str | None:
    """The page as Chromium has it, where there is one."""
    browser = chromium(page.parent / "profile")
    if browser is None:
        return None
    command = [*browser, "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
