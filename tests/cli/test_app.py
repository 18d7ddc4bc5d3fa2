"""The `dlcpose` command, by its own name."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlcpose.cli import app
from dlcpose.cli.app import main
from tests.cli.test_hydra_main import modules_after
from tests.datasets.dlc_projects import ten_frames, write_project
from tests.shells import REPOSITORY, Answer, python, reason

COMMANDS = ("attention", "compare", "inspect", "models", "preview", "render")


def dlcpose(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str, columns: int = 160
) -> Answer:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["dlcpose", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    code = ended.value.code
    return Answer(code if isinstance(code, int) else int(code is not None), out, err)


def test_help_lists_the_commands_and_imports_nothing_heavy(tmp_path: Path) -> None:
    statement = "import sys; sys.argv = ['dlcpose', '--help']; from dlcpose.cli.app import main; main()"
    imported, answer = modules_after(statement, tmp_path)
    assert (answer.code, imported) == (0, set())
    for command in COMMANDS:
        assert f" {command} " in answer.out


def test_the_program_runs_as_a_module(tmp_path: Path) -> None:
    """Where the folder of programs is not on the path, as on many clusters."""
    answer = python("-m", "dlcpose", "track", "--help", cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert "--animals" in answer.out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("inspect", "data", "--output", ""), "--output"),
        (("ensemble", "a.poses.h5", "b.poses.h5", "--output="), "--output"),
        (("inspect", ""), "DATA"),
        (("ensemble", "a.poses.h5", ""), "POSES"),
    ],
)
def test_an_empty_path_is_refused(
    arguments: tuple[str, ...],
    named: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert named in reason(dlcpose(capsys, monkeypatch, *arguments)).partition(": expected a path")[0]
    assert not list(here.iterdir())


def test_rendered_data_is_inspected_and_previewed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = ("--height", "64", "--width", "64", "--frames", "12", "--videos", "1")
    assert dlcpose(capsys, monkeypatch, "render", "project", *size).code == 0
    assert (here / "project" / "config.yaml").is_file()
    answer = dlcpose(capsys, monkeypatch, "inspect", "project", "--output", "sheet.png")
    assert answer.code == 0, answer.err
    assert "64x64 (12)" in answer.out
    assert [line for line in answer.out.splitlines() if line.startswith("augmentation: ")]
    assert (here / "sheet.png").stat().st_size > 0
    answer = dlcpose(
        capsys,
        monkeypatch,
        "preview",
        "dataset=deeplabcut",
        "dataset.root=project",
        "--frames",
        "4",
        "--output",
        "seen.png",
    )
    assert answer.code == 0, answer.err
    assert (here / "seen.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("inspect", "nowhere"), "nowhere: "),
        (("render", "out", "--format", "sleep"), "--format: "),
        (("preview", "augmentation=strng"), "augmentation=strng: "),
        (("preview", "dataset=deeplabcut"), "dataset.root "),
        (
            ("preview", "trainer.max_epoch=1"),
            "trainer.max_epoch: ",
        ),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...],
    expected: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert reason(dlcpose(capsys, monkeypatch, *arguments)).startswith(expected)
    assert not list(here.iterdir())


def test_a_warning_with_a_name_from_a_file_does_not_act_on_the_terminal(tmp_path: Path) -> None:
    table = write_project(tmp_path / "mice", {"cage": ten_frames()}) / "labeled-data/cage/CollectedData_Ada.csv"
    table.write_text(table.read_text().replace("labeled-data,cage,", "labeled-data,\x1b[2Jyard,"))
    answer = python("-m", "dlcpose", "inspect", "mice", cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert "\\x1b[2Jyard" in answer.err
    assert "\x1b" not in answer.out + answer.err


@pytest.mark.slow
def test_nor_does_one_of_a_training(tmp_path: Path) -> None:
    table = write_project(tmp_path / "mice", {"cage": ten_frames()}) / "labeled-data/cage/CollectedData_Ada.csv"
    table.write_text(table.read_text().replace("labeled-data,cage,", "labeled-data,\x1b[2Jyard,"))
    answer = python(
        "-c",
        "from dlcpose.cli.train import main; main()",
        "dataset=deeplabcut",
        "dataset.root=mice",
        "trainer.max_epochs=0",
        cwd=tmp_path,
    )
    assert "\\x1b[2Jyard" in answer.out + answer.err
    assert "\x1b[2Jy" not in answer.out + answer.err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    answer = python("-m", "dlcpose.cli.app", "preview", "augmentation=strng", "--debug", cwd=tmp_path)
    assert answer.code == 1
    assert "Traceback (most recent call last)" in answer.err
    assert "dlcpose: " not in answer.err


def test_the_paths_of_every_command_may_begin_with_the_home_folder(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bash leaves `~` as it is in `--output=~/page`."""
    seen: list[object] = []

    def takes(files: list[Path], output: Path, by: str = "", other: Path | None = None) -> None:
        seen.extend([files, output, by, other])

    home = here / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setattr(app, "COMMANDS", SimpleNamespace(load=lambda: {"takes": takes, "another": lambda: None}))
    arguments = ("~/a.h5", "~nobody_of_this_name.h5", "c/~/d", "~/out", "--by=~/text")
    assert dlcpose(capsys, monkeypatch, "takes", *arguments).code == 0
    files = [home / "a.h5", Path("~nobody_of_this_name.h5"), Path("c/~/d")]
    assert seen == [files, home / "out", "~/text", None]


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer = dlcpose(capsys, monkeypatch, "trane")
    assert answer.code == 2
    assert "trane" in answer.err


@pytest.mark.parametrize("path", sorted((REPOSITORY / "dlcpose" / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_what_is_printed_is_made_printable(path: Path) -> None:
    """Names of files may be a stranger's, and hold what clears the screen or forges a line."""
    printed = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.echo", "click.echo")
    ]
    if path.stem != "say":
        assert [text for text in printed if "json.dumps(" not in text] == []
