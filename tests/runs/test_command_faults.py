"""Whole commands on a disk that fails, at each file that they write: one line that names the file, old results whole.

Each place is tried with one kind of fault, in turn, and after every third the command is run again; DLCPOSE_FAULTS=all
tries every step, which takes some minutes. What an evaluation writes is tried file by file in `test_evaluation`, and in the
trainings that end with one at its ends only.
"""

import importlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import dlcpose
from dlcpose.checkpoint import read_checkpoint
from dlcpose.cli.app import build_app
from dlcpose.config.messages import explain
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.structures.atomic_files import TEMPORARY
from dlcpose.visualization.video_file import write_video
from tests.runs.made_up_faults import failing_disk

pytestmark = pytest.mark.slow

ALL = os.environ.get("DLCPOSE_FAULTS") == "all"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
AGAIN = 3  # after every so many faults the command is run again
LOOSE = re.compile(r"[0-9a-f]{8}|\d+")  # numbers of processes, times, and random names
Command = Callable[[Path], object]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides of a run that takes a second: a network of one layer, which lies beside the benchmark that it is for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.delitem(sys.modules, "load", raising=False)
        settings: tuple[str, ...] = importlib.import_module("load").SETTINGS
        yield (*settings, "debug=fast", "datamodule.min_steps=0", "dataset.frames=8", "evaluation.pictures=1")


@pytest.fixture(scope="module")
def run(small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dlcpose.train(*small, run_dir=tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = SyntheticFrames(frames=3, height=32, width=32, videos=1)
    path = tmp_path_factory.mktemp("videos") / "cage.mp4"
    write_video(path, map(data.read_image, range(3)), fps=25)
    return path


def shell(*arguments: object) -> None:
    build_app()([*map(str, arguments)], standalone_mode=False)


def places(steps: Sequence[tuple[str, str]], ends_of: str | None = None) -> list[int]:
    """Which steps are to fail: of each file, one kind; of the first, all. ends_of: a folder of which two files will do."""
    if ALL:
        return list(range(1, len(steps) + 1))
    of_files: dict[str, dict[str, int]] = {}
    for number, (what, path) in enumerate(steps, start=1):
        of_files.setdefault(LOOSE.sub("#", path), {}).setdefault(what, number)
    inside = [file for file in of_files if ends_of is not None and f".{ends_of}." in file]
    for file in inside[1:-1]:
        del of_files[file]
    chosen: list[int] = []
    for turn, kinds in enumerate(of_files.values()):
        numbers = list(kinds.values())
        chosen += numbers if turn == 0 else [numbers[turn % len(numbers)]]
    return sorted(chosen)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_whole(path: Path) -> None:
    """A file is not cut off, as far as its kind can be told."""
    if path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".png":
        Image.open(path).load()
    elif path.suffix == ".ckpt":
        assert read_checkpoint(path).weights
    elif path.suffix in (".h5", ".slp"):
        h5py.File(path).close()
    elif path.suffix == ".html":
        assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    elif path.suffix == ".csv":
        assert path.read_bytes().endswith(b"\n")


def sweep(
    command: Command, before: Path, here: Path, again: Command | None = None, ends_of: str | None = None
) -> tuple[int, list[str]]:
    """Run a command with one fault after the other, on a copy of `before` each time; the faults tried, and what was wrong."""
    straight = here / "straight"
    shutil.copytree(before, straight)
    with failing_disk(straight) as disk:
        command(straight)
    names = set(content_of(straight))
    wrong: list[str] = []
    tried = places(disk.steps, ends_of)
    for number, place in enumerate(tried):
        folder = here / f"fault{place}"
        shutil.copytree(before, folder)
        old, line = content_of(folder), None
        with failing_disk(folder, place) as failing:
            try:
                command(folder)
            except Exception as error:
                line = explain(error, "train", ()) or f"TRACEBACK {type(error).__name__}: {error}"
            except SystemExit as end:
                line = f"exit {end.code}"
        assert len(failing.steps) >= place
        what, path = failing.steps[place - 1]
        where = f"{place}: {what} {Path(path).relative_to(folder)}"
        wrong += [f"{where}: {problem}" for problem in _problems(folder, old, line)]
        if not ALL and number % AGAIN:
            shutil.rmtree(folder)
            continue
        (again or command)(folder)
        if lacking := {name for name in names - set(content_of(folder)) if not LOOSE.search(name)}:
            wrong.append(f"{where}: the command again did not write {lacking}")
        shutil.rmtree(folder)
    return len(tried), wrong


def _problems(folder: Path, old: dict[str, bytes], line: str | None) -> list[str]:
    """What is wrong after a fault: the message, old results, or what lies about."""
    found = []
    if line is not None and (line.startswith("TRACEBACK") or "\n" in line):
        found.append(line)
    if line is not None and str(folder) not in line:
        found.append(f"no file is named: {line}")
    if line is not None and re.search(r"-\d+\.[0-9a-f]{8}\.", line):
        found.append(f"a temporary file is named: {line}")
    for path in folder.rglob("*"):
        if TEMPORARY.fullmatch(path.name):
            found.append(f"left: {path.relative_to(folder)}")
        elif path.is_file():
            try:
                assert_whole(path)
            except Exception as error:
                found.append(f"torn: {path.relative_to(folder)}: {type(error).__name__}")
    now = content_of(folder)
    return found + [f"gone: {name}" for name in old if name not in now]


def check(tried: int, wrong: list[str]) -> None:
    print(f"{tried} faults")
    assert not wrong, "\n".join([f"{len(wrong)} of {tried}", *wrong])


def test_training(small: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()

    def again(folder: Path) -> None:
        begun = (folder / "run" / "run.json").exists()
        dlcpose.train(*small, *(["resume=last"] if begun else []), run_dir=folder / "run")

    def train(folder: Path) -> None:
        dlcpose.train(*small, run_dir=folder / "run")

    check(*sweep(train, tmp_path / "nothing", tmp_path, again, ends_of="evaluation"))


def test_resumed_training(small: tuple[str, ...], run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "before" / "run")
    longer = (*small, "trainer.max_epochs=2", "resume=last")

    def train(folder: Path) -> None:
        dlcpose.train(*longer, run_dir=folder / "run")

    check(*sweep(train, tmp_path / "before", tmp_path, ends_of="evaluation"))


def test_evaluation(run: Path, tmp_path: Path) -> None:
    def evaluate(folder: Path) -> None:
        dlcpose.evaluate(run / "checkpoints" / "best.ckpt", "trust=[load]", run_dir=folder / "figures")

    evaluate(tmp_path / "before")
    check(*sweep(evaluate, tmp_path / "before", tmp_path))


def test_comparison(run: Path, tmp_path: Path) -> None:
    def compare(folder: Path) -> None:
        shell("compare", run, "--output", folder / "comparison")

    compare(tmp_path / "before")
    check(*sweep(compare, tmp_path / "before", tmp_path))


def test_prediction(run: Path, video: Path, tmp_path: Path) -> None:
    def predict(folder: Path) -> None:
        tables = ("--track", "--format", "csv", "--format", "coco")
        shell("predict", video, "--checkpoint", run / "checkpoints" / "best.ckpt", "--trust", "load", *tables,
              "--output", folder / "poses", "--overwrite")  # fmt: skip

    predict(tmp_path / "before")
    check(*sweep(predict, tmp_path / "before", tmp_path))


def test_prediction_of_images(run: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(images / f"{number}.png")

    def predict(folder: Path) -> None:
        shell("predict", images, "--checkpoint", run / "checkpoints" / "best.ckpt", "--trust", "load",
              "--output", folder / "poses", "--overwrite")  # fmt: skip

    predict(tmp_path / "before")
    check(*sweep(predict, tmp_path / "before", tmp_path))


@pytest.mark.parametrize("target", ["deeplabcut", "coco", "labels.pkg.slp", "lightning_pose"])
def test_conversion(target: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shell("render", source, "--frames", 4, "--videos", 2, "--height", 48, "--width", 48, "--format", "coco")

    def convert(folder: Path) -> None:
        to = () if target.endswith(".slp") else ("--to", target)
        shell("convert", source, folder / target, *to, "--overwrite")

    convert(tmp_path / "before")
    check(*sweep(convert, tmp_path / "before", tmp_path))
