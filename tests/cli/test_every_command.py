"""Every command that is stopped by Ctrl-C, or whose terminal is a poor one: one line at most, and nothing left behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlcpose.config.messages import stop
from dlcpose.structures.errors import Stopped
from dlcpose.structures.interrupts import ended_like_ctrl_c
from tests.shells import REPOSITORY

# A terminal as a cron job or an old cluster has it.
POOR = {"LC_ALL": "POSIX", "LANG": "C", "PYTHONIOENCODING": "ascii", "COLUMNS": "20", "TERM": "dumb"}
NO_UTF8 = {
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
}  # else Python takes UTF-8 for names of files where the locale is C


def attempts(folder: Path, mode: str, **environment: str) -> list[dict[str, Any]]:
    """What came of each command."""
    program = REPOSITORY / "tests" / "cli" / "every_command.py"
    kept = {name: value for name, value in os.environ.items() if name != "HOME" or not environment}
    done = subprocess.run(
        [sys.executable, str(program), str(folder), mode],
        env={**kept, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def said(attempt: dict[str, Any]) -> list[str]:
    """The lines of ours."""
    return [line for line in attempt["err"].splitlines() if line.startswith("dlcpose:")]


@pytest.mark.slow
def test_ctrl_c_ends_every_command_in_one_line(tmp_path: Path) -> None:
    tried = 0
    for each in attempts(tmp_path, "ctrl-c"):
        where = f"{each['command']} at open {each['stop_at']}: {each['err'][-2000:]}"
        assert not each["left"], where
        assert not each["lies"], (where, each["lies"])
        assert "Traceback" not in each["err"], where
        if not each["stop_at"]:
            assert each["code"] == 0, where
            continue
        tried += 1
        assert each["code"] == 130, where
        *first, last = said(each)
        assert last.startswith("dlcpose: stopped"), where
        assert all("stopping as soon as" in line for line in first), where
    assert tried >= 39


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "codes"), [("closed", {0}), ("head", {0, 141})])
def test_output_that_is_closed_is_no_error(mode: str, codes: set[int], tmp_path: Path) -> None:
    for each in attempts(tmp_path, mode):
        assert each["code"] in codes, each
        assert not each["left"], each
        assert "Traceback" not in each["err"], each
        assert not said(each), each


@pytest.mark.slow
@pytest.mark.parametrize("environment", [POOR, POOR | NO_UTF8], ids=["as Python starts", "names of files in ASCII"])
def test_a_poor_terminal_is_no_error(tmp_path: Path, environment: dict[str, str]) -> None:
    """No home, no UTF-8, 20 columns, and a folder whose name is beyond ASCII."""
    for each in attempts(tmp_path / "Käfig", "plain", **environment):
        assert each["code"] == 0, each
        assert "Traceback" not in each["err"], each


@pytest.mark.slow
def test_every_command_does_without_what_windows_has_not(tmp_path: Path) -> None:
    like_windows = REPOSITORY / "tests" / "like_windows"
    for each in attempts(tmp_path, "plain", PYTHONPATH=f"{like_windows}{os.pathsep}{REPOSITORY}"):
        assert each["code"] == 0, each
        assert "Traceback" not in each["err"], each


@pytest.mark.slow
def test_types_where_windows_has_other_modules() -> None:
    """What a module has on one system alone is asked for behind `sys.platform`, which mypy knows."""
    command = [sys.executable, "-m", "mypy", "--platform", "win32", "--no-warn-unreachable", "--cache-dir", os.devnull]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("interrupt", "expected"),
    [
        (Stopped("The first 3 frames are saved in x"), "The first 3 frames are saved in x."),
        (KeyboardInterrupt(), "kept"),
    ],
)
def test_the_line_says_what_is_saved(
    interrupt: KeyboardInterrupt, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, ended_like_ctrl_c():  # which forgets an earlier command's signal
        stop(interrupt)
    assert end.value.code == 130
    assert re.fullmatch(rf"dlcpose: stopped\. .*{re.escape(expected)}.*\n", capsys.readouterr().err)
