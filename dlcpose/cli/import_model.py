"""`dlcpose import`: a model of another package as a checkpoint."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError


@command("import")
def import_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="The folder of a DeepLabCut 3 model, a snapshot, an exported model, or a file of published weights."
        ),
    ],
    output: Annotated[Path, typer.Option(help="The .ckpt to write.")],
    config: Annotated[
        Path | None, typer.Option(help="Its pytorch_config.yaml; beside the snapshot unless given.")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="Which snapshot; the best, else the last, unless given.")
    ] = None,
    detector: Annotated[Path | None, typer.Option(help="Which snapshot of the detector; likewise.")] = None,
    keypoints: Annotated[
        str | None, typer.Option(help="Of published weights that do not say it: ap10k, animalpose or coco.")
    ] = None,
    dataset_index: Annotated[
        int | None, typer.Option(help="Of ViTPose+, whose experts are of several data sets: 3 is AP-10K.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies at the output.")] = False,
) -> None:
    """Import a model of DeepLabCut 3, or published weights: it predicts, evaluates and trains on like any other."""
    if output.exists() and not overwrite:
        raise DataError(f"{output}: it is there already. Add --overwrite to replace it, or give another --output.")
    from dlcpose.importers.deeplabcut_files import shuffle_of
    from dlcpose.importers.imported import training_command, write_checkpoint
    from dlcpose.importers.source import read_source

    model = read_source(
        source,
        config=config,
        snapshot=snapshot,
        detector=detector,
        keypoints=keypoints,
        dataset_index=dataset_index,
    )
    description = write_checkpoint(model, output)
    weights = sum(value.numel() for value in model.weights.values())
    say(f"{output}: {counted(len(model.weights), 'tensor')}, {weights:,} weights of {model.source}, all that it needs")
    for reason, count in Counter(model.not_taken.values()).items():
        say(f"  not taken: {counted(count, 'tensor')} {reason}")
    if model.license is not None:
        say(f"  license: {model.license}")
    say(f"  keypoints: {', '.join(description.skeleton.names)}")
    say(f"  predict:  dlcpose predict --checkpoint {shlex.quote(str(output))} VIDEO")
    roots = (override for override in model.overrides if override.startswith("dataset.root="))
    root = next(roots, "dataset.root=PROJECT")
    evaluation = shlex.join(["python", "evaluate.py", f"checkpoint={output}", "dataset=deeplabcut", root])
    training = training_command(model, output)
    if (shuffle := shuffle_of(model.source)) is not None:  # test frames of another may be what it was trained on
        chosen = f"dataset.shuffle={shuffle[0]} dataset.fraction={shuffle[1]:g}"
        evaluation += f" {chosen} frames=test"
        training += f" split=stored {chosen}"
    say(f"  evaluate: {evaluation}")
    say(f"  train on: {training}")
