"""The `dlcpose` command: everything but training and evaluating, which are Hydra's."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand

from dlcpose.cli.option_names import names_options
from dlcpose.cli.registry import COMMANDS
from dlcpose.config.messages import (
    end_quietly,
    explain,
    fail,
    output_may_be_closed,
    stop,
    tolerate_output,
    wants_traceback,
)
from dlcpose.structures.environment import check_environment
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.home_folder import expand_home


def build_app() -> typer.Typer:
    """The program with every registered command, in the order of their names."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
    for name, function in sorted(COMMANDS.load().items()):
        app.command(name, cls=_Command)(_of_the_shell(function))
    return app


class _Command(TyperCommand):
    """A command that takes no empty text for a path, as of a shell variable that is not set: it would be this folder.

    Its errors name options, whatever raised them.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        rest: list[str] = super().parse_args(ctx, args)
        hints = get_type_hints(self.callback)
        values, _, _ = self.make_parser(ctx).parse_args(given)  # as texts: of an empty one a path makes this folder
        for parameter in self.params:
            value = values.get(parameter.name or "")
            if "Path" in str(hints.get(parameter.name or "")) and "" in (
                value if isinstance(value, list | tuple) else [value]
            ):
                option = parameter.opts[0]
                name = option if option.startswith("-") else parameter.metavar or option.upper()
                raise ConfigError(f"{name}: expected a path, got an empty text. Is a variable of the shell not set?")
        return rest

    def invoke(self, ctx: Any) -> Any:
        named = {each.name: each.opts[0] for each in self.params if each.name is not None}
        with names_options({name: option for name, option in named.items() if option.startswith("--")}):
            return super().invoke(ctx)


def _of_the_shell(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, in whose paths `~` is home; which Ctrl-C ends in one line, and a closed output without any."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*map(_at_home, arguments), **{name: _at_home(value) for name, value in options.items()})
        except KeyboardInterrupt as interrupt:
            stop(interrupt)
        except BrokenPipeError:  # of which typer would make an exit code of 1
            end_quietly()

    return run


def _at_home(value: Any) -> Any:
    """An argument's paths with `~` as the home folder: shells leave it as it is after an equals sign."""
    if isinstance(value, Path):
        return expand_home(value)
    return [_at_home(each) for each in value] if isinstance(value, list) else value


def main() -> None:
    """`dlcpose`: one line for a mistake of the user's; `--debug` shows the traceback."""
    in_full = wants_traceback()
    tolerate_output()
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        check_environment()
        with output_may_be_closed():
            build_app()()
    except KeyboardInterrupt as interrupt:
        stop(interrupt)
    except Exception as error:
        if in_full or (reason := explain(error, "train")) is None:
            raise
        fail(reason)


if __name__ == "__main__":
    main()
