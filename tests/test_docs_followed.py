"""Every command in the shell blocks of README and docs/ is run, and every block of Python: on tiny data, two steps each.

Pages that tell one story have tests of their own (`STORIES`), and what needs other machines is held elsewhere
(`HELD_ELSEWHERE`). A command is run in a copy of its page's folder (tests/docs_scenes.py), so that none needs another.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlcpose.api import train
from tests.docs_pages import PAGES, commands_of, commands_to_follow, console_lines, pages_of_python, python_blocks
from tests.docs_scenes import SMALL_CROPS, make_scene, prepare
from tests.shells import REPOSITORY, SHORT, SMALL, TINY, Answer, python, reason, shell

pytestmark = pytest.mark.slow  # some ninety commands, most of which train

QUICK = ("datamodule.workers=0", "evaluation.pictures=0")
# What a command gets besides, by what it says: less to do, or a device that there is. A later override wins.
LESS = {
    "optimizer.lr=1e-3,3e-4": "optimizer.lr=1e-3",
    "hparams_search=": "hydra.sweeper.n_trials=2",
    "seed=0,1,2 ": "seed=0,1",
    "seed=range(0,111)": "hydra/launcher=basic seed=0 model=resnet_18 optimizer.lr=1e-3",
    "experiment=few_labels": "pseudo_labels.min_score=0.0 pseudo_labels.frames=3 pseudo_labels.teachers=2 unlabeled.clips=2",
    "trainer.max_epochs=100": "trainer.max_epochs=1",
    "trainer.max_epochs=9 ": "trainer.max_epochs=1",
    "benchmarks/tracking.py": "--animals 2 --minutes 0.05 --seeds 0",
    "dlcpose-predict -m video": "device=cpu",
    # Of frames of 64 px it would make 800, which takes minutes and more than 6 GB.
    "detector=fasterrcnn": "detector.shortest_side=64 detector.longest_side=64",
}
# What the comments in a page's Python say of its values.
SHOWN = {
    "README.md": (
        "tracks.keypoints_in_image.shape[2:] == (len(predictor.skeleton), 2)",
        "pose.keypoints_in_image.shape == (*pose.keypoint_scores.shape, 2)",
        "pose.key == 'frame2.png'",
        "len(train_set) > 0 and next(iter(loader)).images.ndim == 4",
        "'resnet_50' in dlcpose.available_models()",
        "figures.keys() >= {'oks_ap', 'mean_error_px'}",
    ),
    "conditional_top_down.md": (
        "len(prediction) > 0",
        "prediction.keypoints_in_image.shape == (len(track_ids), len(predictor.skeleton), 2)",
        "Path('video.followed.poses.h5').is_file()",
    ),
    "tables.md": (
        "[path.name for path in paths] == ['cage.parquet', 'cageDLC_resnet50_dlcpose.csv']",
        "tracks.video.path == 'pen.mp4' and len(tracks) == 8 and notes == ()",
    ),
    "tracking.md": ("len(result.tracks.individuals) == 4 and result.tracks.is_tracked",),
}
# Models of which these pages show other parts; as it is, each kind takes a step in tests/config/test_composition.py.
LIGHT = re.compile(r"model=((bottom_up|top_down)_resnet_\d+|resnet_18,\S+)\b(?!.*backbone)")
# Models that see crops of 256 px, also of frames of 64: CoAM's attention grows with the fourth power of the side.
CROPS = re.compile(r"model=(top_down|ctd)_|pipeline=top_down|experiment=flypair24_top_down")
# These have to be processes: a launcher starts others.
IN_A_PROCESS = re.compile(r"^dlcpose-predict|hydra/launcher=parallel|^python benchmarks")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each page, made when its first command is run."""
    return {"": tmp_path_factory.mktemp("scenes")}


@pytest.fixture
def place(page: str, scenes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the page's folder, which is the home and the working folder."""
    folder = scenes.setdefault(page, scenes[""] / Path(page).stem)
    if not folder.exists():
        folder.mkdir()
        make_scene(page, folder)
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (tmp_path, tmp_path / "mylab"):  # as if installed
        monkeypatch.syspath_prepend(str(folder))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


def words(command: str) -> list[str]:
    """The words of a command as bash makes them: without its comment, with files in place of patterns."""
    given = "each() { printf '%s\\0' \"$@\"; }; each " + command
    said = subprocess.run(["bash", "-c", given], capture_output=True, text=True, check=True).stdout
    return said.split("\0")[:-1]


def less(command: str) -> list[str]:
    """Overrides that make a run end within seconds."""
    found = [word for said, more in LESS.items() if said in f"{command} " for word in more.split()]
    if "train.py" not in command:
        return found
    data = SHORT if "dataset=" in command or "dataset.root=" in command else SMALL
    is_tiny = not re.search(r"model=|backbone|experiment=|head=", command) or "init_from" in command
    network = TINY if is_tiny else TINY[:2] if LIGHT.search(command) else ()
    crops = SMALL_CROPS if CROPS.search(command) and "input.height" not in command else ()
    return [*data, *network, *crops, *QUICK, *found]


def followed(command: str, place: Path) -> Answer:
    prepare(command, place)
    program, *arguments = [*words(command), *less(command)]
    if IN_A_PROCESS.search(command):
        if program == "dlcpose-predict":
            arguments = ["-m", "dlcpose.cli.predict_sweep", *arguments]
        else:
            arguments[0] = str(REPOSITORY / arguments[0])
        return python(*arguments, cwd=place)
    scripts = {"dlcpose": "dlcpose/cli/app.py", "python": arguments[0]}
    return shell(scripts[program], *(arguments[1:] if program == "python" else arguments))


@pytest.mark.parametrize(("page", "command"), commands_to_follow())
def test_a_command_of_the_docs_does_what_it_says(page: str, command: str, place: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    answer = followed(command, place)
    assert answer.code == 0, answer.err
    after = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    assert after != before or answer.out.strip()


@pytest.mark.parametrize("page", pages_of_python())
def test_python_of_the_docs_runs(page: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page in one namespace, in order; trainings end within seconds."""
    monkeypatch.setattr("dlcpose.api.train", lambda *given: train(*given, *less(f"python train.py {' '.join(given)}")))
    names: dict[str, Any] = {}
    for block in python_blocks(page):
        exec(compile(block, page, "exec"), names)
    for statement in SHOWN[page]:
        assert eval(statement, {**names, "Path": Path}), statement


@pytest.mark.parametrize("page", ["README.md"])
def test_mistakes_are_answered_as_shown(page: str, place: Path) -> None:
    for command, shown in console_lines(PAGES[page].read_text(encoding="utf-8")):
        expected = ".*".join(map(re.escape, " ".join(shown).split("...")))
        assert re.fullmatch(expected, "dlcpose: " + reason(followed(command, place))), command


def test_a_detector_that_is_fetched(here: Path) -> None:
    lines = [line for line in commands_of("many_animals.md") if "detector.pretrained=true" in line]
    make_scene("many_animals.md", here)
    for line in lines:
        answer = shell(*words(line.replace("pretrained=true", "pretrained=false"))[1:], *less(line))
        assert answer.code == 0, answer.err
    assert len(lines) == 1


def test_what_make_runs(here: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    assert re.search(r"^train: install\n\t\$\(BIN\)/python train\.py$", makefile, re.MULTILINE)
    assert shell("train.py", *SMALL, *TINY, *QUICK).code == 0
