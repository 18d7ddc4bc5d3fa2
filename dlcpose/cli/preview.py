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
    output: Annotated[Path, typer.Option(help="the PNG to write")] = Path("preview.png"),
    frames: Annotated[int, typer.Option(min=1, help="how many")] = 16,
) -> None:
    """Draw what the model sees: training frames as the chosen augmentation makes them."""
    config = compose(overrides or [])  # before the slow imports: a misspelt name is reported at once
    import numpy as np

    from dlcpose.build import build_input, build_trunk
    from dlcpose.datasets.crops import augment, fit_to_canvas, keep_keypoints
    from dlcpose.instantiate import Instantiator
    from dlcpose.training.validate import KEYS, check_keys
    from dlcpose.visualization.pictures import contact_sheet, draw_poses, write_png

    check_keys(config, KEYS)
    instantiate = Instantiator(tuple(config["trust"]))
    trunk = build_trunk(config, instantiate)
    data = instantiate(config["dataset"], "dataset")
    keys = set(instantiate(config["split"], "split")(data).train)
    indices = [index for index, frame in enumerate(data.frames) if frame.key in keys]
    sizes = [(frame.height, frame.width) for frame in data.frames]
    model_input = build_input(config, instantiate, trunk, sizes)
    transform = keep_keypoints(instantiate(config["augmentation"], "augmentation"))
    drawn, captions = [], []
    for number, index in enumerate(np.resize(indices, frames)):
        crop = augment(fit_to_canvas(data[int(index)], model_input), transform, data.skeleton, config["seed"] + number)
        drawn.append(draw_poses(crop.image, crop.keypoints_in_crop, data.skeleton))
        captions.append(crop.key)
    write_png(output, contact_sheet(drawn, captions, columns=4, tile=320))
    typer.echo(f"{output}: {frames} training frames as the model sees them")
