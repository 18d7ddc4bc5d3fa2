"""`dlcpose export`: a trained model in a format that other programs run."""

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.cli.say import say


@command("export")
def export_command(
    checkpoint: Annotated[Path, typer.Option(help="best.ckpt of a run.")],
    format_name: Annotated[str, typer.Option("--format", help="One of the formats; a wrong name lists them.")],
    output: Annotated[Path, typer.Option(help="File or folder to write.")],
    precision: Annotated[str, typer.Option(help="32, or fp16 where the format has it.")] = "32",
    images: Annotated[
        list[str] | None,
        typer.Option(help="Images, or folders of them, to check the export on; rendered ones unless given."),
    ] = None,
    trust: Annotated[list[str] | None, typer.Option(help="A package of your own that the model is made of.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies at the output.")] = False,
) -> None:
    """Write a checkpoint's model in another format, after checking that its predictions are the same."""
    from dlcpose.checkpoint import read_checkpoint
    from dlcpose.cli.prediction_inputs import find_inputs
    from dlcpose.model_formats.registry import ExportRequest, export_model
    from dlcpose.structures.errors import ConfigError

    found = find_inputs(images or (), None)
    if missing := [path for path in (*found.videos, *chain(*found.images.values())) if not path.exists()]:
        raise ConfigError(f"--images: expected images, or folders of them, there is no {missing[0]}. Correct the path.")
    if found.videos:
        raise ConfigError(f"--images: {next(iter(found.videos))} is no image. Give images, or folders of them.")
    request = ExportRequest(
        read_checkpoint(checkpoint),
        output,
        precision=precision,
        images=tuple(chain(*found.images.values())),
        trust=tuple(trust or ()),
        overwrite=overwrite,
    )
    for line in export_model(format_name, request):
        say(line)
