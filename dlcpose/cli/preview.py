"""`dlcpose preview`: a contact sheet of augmented training frames with their labels."""

from pathlib import Path
from typing import Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.config.compose import compose


@command("preview")
def preview_command(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="as for train.py: augmentation=strong dataset=...")
    ] = None,
    output: Annotated[Path, typer.Option(help="the PNG or JPEG to write")] = Path("preview.png"),
    frames: Annotated[int, typer.Option(min=1, help="how many")] = 16,
) -> None:
    """Draw what the model sees: training frames as the chosen augmentation makes them."""
    config = compose(overrides or [], run_dir=str(output.parent))  # first: a misspelled name is reported at once
    import numpy as np

    from dlcpose.datasets.crops import augment, fit_to_canvas, keep_keypoints
    from dlcpose.training.experiment import build_experiment
    from dlcpose.training.validate import validate_config
    from dlcpose.visualization.pictures import check_picture_name, contact_sheet, draw_poses, write_picture

    check_picture_name(output, "--output")
    validate_config(config)
    stage = build_experiment(config).stages[-1]
    data, batches = stage.data, stage.build_datamodule()
    transform = keep_keypoints(batches.schedule.strongest.transform)
    drawn, captions = [], []
    for number, index in enumerate(np.resize(batches.train_indices, frames)):
        crop = augment(
            fit_to_canvas(data[int(index)], batches.model_input), transform, data.skeleton, config["seed"] + number
        )
        drawn.append(draw_poses(crop.image, crop.keypoints_in_crop, data.skeleton, unique_in_image=crop.unique_in_crop))
        captions.append(crop.key)
    for choice in batches.schedule.choices:
        typer.echo(f"augmentation: {choice}")
    write_picture(output, contact_sheet(drawn, captions, columns=4, tile=320))
    typer.echo(f"{output}: {frames} training frames as the model sees them")
