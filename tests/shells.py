"""Running the commands as a shell does: in this process where nothing but its speed differs, or in one of their own."""

import contextlib
import gc
import io
import logging
import os
import re
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

REPOSITORY = Path(__file__).parents[1]

# A run that ends in seconds: rendered animals of 64 px, two steps, no processes beside it.
SMALL = (
    *("dataset.frames=24", "dataset.videos=2", "dataset.height=64", "dataset.width=64"),
    *("debug=fast", "datamodule.workers=0", "evaluation.pictures=2"),
)
# The same for data of other kinds, which has no such settings.
SHORT = ("debug=fast", "datamodule.workers=0", "evaluation.pictures=2")
# A network of half a million weights, where it does not matter which.
TINY = ("backbone=timm", "backbone.name=test_resnet", "neck.channels=16")


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.rstrip().rsplit("\n", 1)[-1]


def shell(script: str, *arguments: str, **environment: str) -> Answer:
    """`python SCRIPT ARGUMENTS...` from the working folder, but in this process, where torch is imported already."""
    out, err = io.StringIO(), io.StringIO()
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with _as_in_a_fresh_process([script, *arguments], environment), streams[0], streams[1]:
        try:
            runpy.run_path(str(REPOSITORY / script), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Answer(code, out.getvalue(), err.getvalue())


def python(*arguments: str | Path, cwd: Path, **environment: str) -> Answer:
    """`python ARGUMENTS...` in a process of its own."""
    # One thread each: where several tests run at once, threads mostly wait for each other.
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "COLUMNS": "120", **environment}
    if "HYDRA_FULL_ERROR" not in environment:
        settings.pop("HYDRA_FULL_ERROR", None)
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,  # a process that hangs, or one that outlives it with its output open, is a failure
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def _as_in_a_fresh_process(argv: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    """What a command changes in its process (arguments, environment, logging, Hydra) is put back."""
    variables, arguments, path = dict(os.environ), sys.argv, list(sys.path)
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, _disabled_loggers()
    os.environ.pop("HYDRA_FULL_ERROR", None)
    os.environ.update({"COLUMNS": "120", **environment})
    sys.argv = argv
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings():  # what a command makes of warnings ends with it
            warnings.simplefilter("ignore")
            yield
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        os.environ.clear()
        os.environ.update(variables)
        sys.argv, sys.path[:] = arguments, path
        root.handlers[:] = handlers
        root.setLevel(level)
        for name in _disabled_loggers() - disabled:
            logging.getLogger(name).disabled = False
        gc.collect()  # a run's model and trainer point at each other: gigabytes over a whole module of tests


def _disabled_loggers() -> set[str]:
    known = logging.Logger.manager.loggerDict
    return {name for name, one in known.items() if isinstance(one, logging.Logger) and one.disabled}


def reason(answer: Answer) -> str:
    """The one line that says what was wrong; fails where there is none, or more, or a traceback."""
    lines = [line for line in answer.err.splitlines() if line.startswith("dlcpose: ")]
    assert answer.code != 0, answer
    assert len(lines) == 1, answer.err
    assert "Traceback" not in answer.err, answer.err
    # What else stands there is a warning, never a second error.
    assert not re.search(r"^\w*Error:", answer.err, re.MULTILINE), answer.err
    return lines[0].removeprefix("dlcpose: ")


def chromium(profile: Path) -> list[str] | None:
    """The command of a headless browser, with a profile of its own; None where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        return None
    own = (f"--user-data-dir={profile}", "--disable-background-networking", "--disable-dev-shm-usage")
    return [found, "--headless", "--no-sandbox", "--disable-gpu", *own]
