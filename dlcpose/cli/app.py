"""The `dlcpose` command: everything but training and evaluating, which are Hydra's."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dlcpose.cli.attention import attention_command
from dlcpose.cli.compare import compare_command
from dlcpose.cli.draw import draw_command
from dlcpose.cli.ensemble import ensemble_command
from dlcpose.cli.filter import filter_command
from dlcpose.cli.follow import follow_command
from dlcpose.cli.hydra_main import explained, fail, wants_traceback
from dlcpose.cli.inspect_data import inspect_command
from dlcpose.cli.models import models_command
from dlcpose.cli.predict import predict_command
from dlcpose.cli.predict_camera import predict_camera_command
from dlcpose.cli.preview import preview_command
from dlcpose.cli.propose import propose_command
from dlcpose.cli.render import render_command
from dlcpose.cli.track import track_command
from dlcpose.cli.write_tables import tables_command

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def models(as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> None:
    """List the models: pipeline, parameters, multiply-accumulates, stride."""
    models_command(as_json)


@app.command()
def preview(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="as for train.py: augmentation=strong dataset=...")
    ] = None,
    out: Annotated[Path, typer.Option(help="the PNG to write")] = Path("preview.png"),
    frames: Annotated[int, typer.Option(min=1, help="how many")] = 16,
) -> None:
    """Draw what the model sees: training frames as the chosen augmentation makes them."""
    preview_command(list(overrides or []), out, frames)


app.command("attention")(attention_command)
app.command("follow")(follow_command)
app.command("compare")(compare_command)
app.command("inspect")(inspect_command)
app.command("predict")(predict_command)
app.command("predict-camera")(predict_camera_command)
app.command("render")(render_command)
app.command("filter")(filter_command)
app.command("ensemble")(ensemble_command)
app.command("draw")(draw_command)
app.command("propose")(propose_command)
app.command("tables")(tables_command)
app.command("track")(track_command)


def main() -> None:
    """`dlcpose`: one line for a mistake of the user's; `--debug` shows the traceback."""
    in_full = wants_traceback()
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    run: Callable[[], None] = app
    try:
        run()
    except Exception as error:
        if in_full or (reason := explained(error, "train")) is None:
            raise
        fail(reason)


if __name__ == "__main__":
    main()
