"""Every `dlcpose` command in the README and on the pages of docs/ is one that there is, with options that it takes."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from dlcpose.cli.app import build_app
from tests.shells import REPOSITORY

OWN_COMMANDS = "extending.md"  # makes commands of its own, and is followed by a test of its own
PAGES = [path for path in (REPOSITORY / "docs").glob("*.md") if path.name != OWN_COMMANDS]


@pytest.fixture(scope="module")
def commands() -> TyperGroup:
    program = typer.main.get_command(build_app())
    assert isinstance(program, TyperGroup)
    return program


def lines_of(text: str) -> list[str]:
    """Commands in blocks of a shell, those that go on in the next line as one."""
    blocks = "\n".join(re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, re.DOTALL))
    lines = [line.removeprefix("$ ") for line in blocks.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("dlcpose ")]


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *sorted(PAGES)], ids=lambda page: page.stem)
def test_commands_and_their_options_are_known(page: Path, commands: TyperGroup) -> None:
    for line in lines_of(page.read_text(encoding="utf-8")):
        name, *arguments = shlex.split(line, comments=True)[1:]
        assert name.startswith("-") or name in commands.commands, line
        if name in commands.commands:
            known = {option for parameter in commands.commands[name].params for option in parameter.opts}
            known |= {option for parameter in commands.commands[name].params for option in parameter.secondary_opts}
            given = {argument.partition("=")[0] for argument in arguments if re.match(r"--?[a-z]", argument)}
            assert given <= known | {"--help"}, line
