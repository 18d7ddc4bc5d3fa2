"""docs/extending.md word for word: a package outside the project with one part of each kind."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from dlcpose.targets import PLACES
from tests.shells import REPOSITORY, SHORT, SMALL, Answer, python, shell

pytestmark = pytest.mark.slow  # whole runs, each in processes of its own

PAGE = (REPOSITORY / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"```(?:python|yaml|toml)\n# (mylab/\S+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
QUICK = {"dataset=points": (*SHORT, "evaluation.pictures=0")}


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Answer]]:
    """The folder in which the page was followed from top to bottom, and what each command gave."""
    folder = tmp_path_factory.mktemp("walked")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.syspath_prepend(folder / "mylab")
        return folder, {command: followed(command, folder) for command in COMMANDS}


def followed(command: str, folder: Path) -> Answer:
    program, *arguments = shlex.split(command)
    installed = f"{REPOSITORY}:{folder / 'mylab'}"
    if program == "pip":
        return install(folder / arguments[-1])
    if program == "dlcpose":
        return python("-m", "dlcpose.cli.app", *arguments, cwd=folder, PYTHONPATH=installed)
    if arguments[0] == "-m":
        return python(*arguments, "-q", "-p", "no:cacheprovider", cwd=folder, PYTHONPATH=installed)
    quick = next((less for said, less in QUICK.items() if said in command), (*SMALL[:-1], "evaluation.pictures=0"))
    # In a process of its own, which finds the entry points: this one may have looked for them before.
    return python(REPOSITORY / arguments[0], *arguments[1:], *quick, cwd=folder, PYTHONPATH=installed)


def install(project: Path) -> Answer:
    """What `pip install -e` leaves for Python: the entry points, beside a package that can be imported."""
    described = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    info = project / f"{described['name']}-{described['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: {described['version']}\n"
    )
    groups = described["entry-points"].items()
    lines = [line for group, each in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in each.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return Answer(0, "", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_can_be_followed(command: str, walked: tuple[Path, dict[str, Answer]]) -> None:
    answer = walked[1][command]
    assert answer.code == 0, answer.out + answer.err


def test_a_metric_of_one_s_own_is_everywhere(walked: tuple[Path, dict[str, Answer]]) -> None:
    (command,) = [command for command in COMMANDS if "metric=edges" in command]
    folder, answers = walked
    answer = answers[command]
    assert re.search(r"Edge length error +│ +\d+\.\d\d px", answer.out)
    assert re.search(r"edge length error \d+\.\d\d px", answer.last_line)
    run = Path(answer.last_line.partition(":")[0])
    page = (folder / run / "evaluation" / "report.html").read_text()
    assert "Edge length error" in page
    compared = python("-m", "dlcpose.cli.app", "compare", str(run), "--by", "edge_length_error_px", cwd=folder)
    assert compared.code == 0, compared.err
    assert "edge_length_error_px" in compared.out


def test_parts_of_one_s_own_need_trust(walked: tuple[Path, dict[str, Answer]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(walked[0])
    answer = shell("train.py", "--config-dir", "mylab/conf", "model=regression", *SMALL)
    assert answer.code != 0
    assert "trust=[mylab]" in answer.err


def test_each_part_costs_one_file_one_option_and_its_test() -> None:
    parts = {Path(name).stem for name in FILES if re.fullmatch(r"mylab/mylab/(?!__init__)\w+\.py", name)}
    formats = {"label_format", "table_format", "pose_format", "export_format"}
    kinds = {
        "head",
        "neck",
        "backbone",
        "loss",
        "metric",
        "augmentation",
        "detector",
        "model_group",
        *formats,
        "reader",
        "command",
    }
    assert parts == kinds
    assert parts == {Path(name).stem.removeprefix("test_") for name in FILES if "/tests/" in name}
    groups = [Path(name).parent.name for name in FILES if "/conf/" in name]
    assert sorted(set(groups) - set(PLACES)) == ["model", "plausibility"]
    # A group of one's own costs an option of the pipeline that has it besides.
    assert sorted(set(groups) & set(PLACES)) == [
        *("augmentation", "backbone", "dataset", "detector", "head", "loss", "metric", "neck", "pipeline")
    ]
