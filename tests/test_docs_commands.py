"""Commands in README and docs/ are such as there are, and each in a shell block is run by some test."""

import ast
import builtins
import re
import shlex

import pytest
import typer.main
from typer.core import TyperGroup

from dlcpose.cli.app import build_app
from tests.docs_pages import HELD_ELSEWHERE, PAGES, STORIES, commands_of, console_lines, inline_commands, python_blocks
from tests.shells import REPOSITORY

OWN_COMMANDS = "extending.md"  # makes commands of its own
KNOWN = [page for page in PAGES if page != OWN_COMMANDS]


@pytest.fixture(scope="module")
def commands() -> TyperGroup:
    program = typer.main.get_command(build_app())
    assert isinstance(program, TyperGroup)
    return program


@pytest.mark.parametrize("page", KNOWN)
def test_commands_and_their_options_are_known(page: str, commands: TyperGroup) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    for line in [*commands_of(page), *(line for line, _ in console_lines(text)), *inline_commands(text)]:
        if not line.startswith("dlcpose "):
            continue
        name, *arguments = shlex.split(line, comments=True)[1:]
        assert name.startswith("-") or name in commands.commands, line
        if name in commands.commands:
            known = {option for parameter in commands.commands[name].params for option in parameter.opts}
            known |= {option for parameter in commands.commands[name].params for option in parameter.secondary_opts}
            given = {argument.partition("=")[0] for argument in arguments if re.match(r"--?[a-z]", argument)}
            assert given <= known | {"--help"}, line


@pytest.mark.parametrize("page", PAGES)
def test_scripts_of_the_docs_exist(page: str) -> None:
    for line in [*commands_of(page), *inline_commands(PAGES[page].read_text(encoding="utf-8"))]:
        if (script := re.match(r"python (\w\S*\.py)", line)) is not None:
            assert (REPOSITORY / script[1]).is_file(), line


def test_a_page_with_a_story_is_read_by_the_test_that_runs_it() -> None:
    for page, test in STORIES.items():
        assert page in (REPOSITORY / test).read_text(encoding="utf-8"), (page, test)


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)])
def test_python_of_the_docs_names_what_it_uses(page: str) -> None:
    """Each page's Python is complete: what a block loads, an earlier line of the page has imported or made."""
    known = {*dir(builtins), "__file__", "__name__"}
    for block in python_blocks(page):
        nodes = list(ast.walk(ast.parse(block)))
        known = known if page not in STORIES else {*dir(builtins)}  # there a block is a file of its own
        known |= {
            alias.asname or alias.name.split(".")[0]
            for node in nodes
            for alias in getattr(node, "names", [])
            if isinstance(alias, ast.alias)
        }
        known |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        known |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        known |= {
            node.name
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name
        }
        used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        assert used <= known, sorted(used - known)


def test_what_is_held_elsewhere_is_in_the_docs_and_held_by_a_test_that_exists() -> None:
    lines = [line for page in PAGES for line in commands_of(page)]
    for begins, (why, test) in HELD_ELSEWHERE.items():
        assert why
        assert any(line.startswith(begins) for line in lines), f"{begins}: no longer in the docs"
        file, _, name = test.partition("::")
        assert f"def {name}(" in (REPOSITORY / file).read_text(encoding="utf-8"), test


def test_what_a_console_shows_is_run_too() -> None:
    for page, path in PAGES.items():
        for line, _ in console_lines(path.read_text(encoding="utf-8")):
            assert page == "README.md" or line in commands_of(page), f"{page}: {line}: show a command that is run"
