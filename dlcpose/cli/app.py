"""The `dlcpose` command: everything but training and evaluating, which are Hydra's."""

import os

import typer

from dlcpose.cli.registry import COMMANDS
from dlcpose.config.messages import explain, fail, wants_traceback


def build_app() -> typer.Typer:
    """The program with every registered command, in the order of their names."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
    for name, function in sorted(COMMANDS.load().items()):
        app.command(name)(function)
    return app


def main() -> None:
    """`dlcpose`: one line for a mistake of the user's; `--debug` shows the traceback."""
    in_full = wants_traceback()
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        build_app()()
    except Exception as error:
        if in_full or (reason := explain(error, "train")) is None:
            raise
        fail(reason)


if __name__ == "__main__":
    main()
