"""`dlcpose import`: a model of another package as a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.structures.errors import DataError


@command("import")
def import_command(
    source: Annotated[Path, typer.Argument(help="The folder of a DeepLabCut 3 model, or a snapshot of one.")],
    output: Annotated[Path, typer.Option(help="The .ckpt to write.")],
    config: Annotated[
        Path | None, typer.Option(help="Its pytorch_config.yaml; beside the snapshot unless given.")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="Which snapshot; the best, else the last, unless given.")
    ] = None,
    detector: Annotated[Path | None, typer.Option(help="Which snapshot of the detector; likewise.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies at the output.")] = False,
) -> None:
    """Import a model of DeepLabCut 3: it then predicts, evaluates and trains on like one of dlcpose's own."""
    if output.exists() and not overwrite:
        raise DataError(f"{output}: it is there already. Add --overwrite to replace it, or give another --output.")
    from dlcpose.importers.deeplabcut import read_model
    from dlcpose.importers.imported import training_command, write_checkpoint

    model = read_model(source, config=config, snapshot=snapshot, detector=detector)
    description = write_checkpoint(model, output)
    weights = sum(value.numel() for value in model.weights.values())
    typer.echo(f"{output}: {len(model.weights)} tensors, {weights:,} weights of {model.source}, all of them")
    if model.license is not None:
        typer.echo(f"  license: {model.license}")
    typer.echo(f"  keypoints: {', '.join(description.skeleton.names)}")
    typer.echo(f"  predict:  dlcpose predict --checkpoint {output} VIDEO")
    typer.echo(f"  evaluate: python evaluate.py checkpoint={output} dataset=deeplabcut dataset.root=PROJECT")
    typer.echo(f"  train on: {training_command(model, output)}")
