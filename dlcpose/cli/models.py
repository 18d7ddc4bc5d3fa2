"""`dlcpose models`: the table of named models."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.config import models
from dlcpose.structures.counted import counted

COLUMNS = ("model", "animals", "weights\n(M)", "detector\n(M)", "GMACs", "input", "stride", "license")
TEXTS = ("model", "animals", "license")


@command("models")
def models_command(as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> None:
    """List the models: parameters, multiply-accumulates, stride, and the license of pretrained weights."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    errors = Console(stderr=True)
    names = track(
        models.available_models(),
        "building each model",
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    rows = [models.describe(name) for name in names]
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return

    # As narrow as possible: names are there to be copied, and in 80 columns none may be cut.
    table = Table(box=SIMPLE_HEAD, padding=0, collapse_padding=True)
    table.caption = (
        f"for {counted(rows[0].keypoints, 'keypoint')}; of top-down models GMACs are of one crop; license of "
        "the weights that "
        "backbone.pretrained=true fetches"
    )
    for heading in COLUMNS:
        table.add_column(heading, justify="left" if heading in TEXTS else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            row.animals,
            f"{row.parameters / 1e6:.2f}",
            f"{row.detector_parameters / 1e6:.2f}" if row.detector_parameters else "",
            f"{row.gmacs:.2f}",
            f"{row.input[1]}x{row.input[0]}",
            f"{row.stride:g}",
            row.license,
        )
    Console().print(table)
