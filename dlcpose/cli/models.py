"""`dlcpose models`: the table of named models."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.config import models

COLUMNS = ("model", "pipeline", "animals", "weights\n(M)", "detector\n(M)", "GMACs", "input", "stride")
TEXTS = ("model", "pipeline", "animals")


@command("models")
def models_command(as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> None:
    """List the models: pipeline, parameters, multiply-accumulates, stride."""
    rows = [models.describe(name) for name in models.available_models()]
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # As narrow as possible: names are there to be copied, and in 80 columns none may be cut.
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.caption = f"for {rows[0].keypoints} keypoints; of top-down models GMACs are of one crop"
    for heading in COLUMNS:
        table.add_column(heading, justify="left" if heading in TEXTS else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            row.pipeline,
            row.animals,
            f"{row.parameters / 1e6:.2f}",
            f"{row.detector_parameters / 1e6:.2f}" if row.detector_parameters else "",
            f"{row.gmacs:.2f}",
            f"{row.input[1]}x{row.input[0]}",
            f"{row.stride:g}",
        )
    Console().print(table)
