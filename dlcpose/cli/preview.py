"""`dlcpose preview`: a contact sheet of augmented training frames with their labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.config.compose import compose
from dlcpose.structures.counted import counted

T = TypeVar("T")


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
    from dlcpose.datasets.crops import augment, fit_to_canvas, keep_keypoints
    from dlcpose.training.experiment import build_experiment
    from dlcpose.training.validate import validate_config
    from dlcpose.visualization.pictures import check_picture_output, contact_sheet, draw_poses, write_picture

    check_picture_output(output, "--output")
    validate_config(config)
    stage = build_experiment(config).stages[-1]
    data, batches = stage.data, stage.build_datamodule()
    transform = keep_keypoints(batches.schedule.strongest.transform)
    drawn, captions = [], []
    for number, index in enumerate(_spread(batches.train_indices, [frame.video for frame in data.frames], frames)):
        crop = augment(
            fit_to_canvas(data[index], batches.model_input), transform, data.skeleton, config["seed"] + number
        )
        drawn.append(draw_poses(crop.image, crop.keypoints_in_crop, data.skeleton, unique_in_image=crop.unique_in_crop))
        captions.append(crop.key)
    for choice in batches.schedule.choices:
        say(f"augmentation: {choice}")
    write_picture(output, contact_sheet(drawn, captions, columns=4, tile=320))
    say(f"{output}: {counted(frames, 'training frame')} as the model sees them")


def _spread(indices: Sequence[int], videos: Sequence[str | None], count: int) -> list[int]:
    """So many of the indices, evenly over the videos that they are of and over the frames of each; some again of too few.

    videos: of every frame, by index.
    """
    if count >= len(indices):
        return [indices[place % len(indices)] for place in range(count)]
    by_video: dict[str | None, list[int]] = {}
    for index in indices:
        by_video.setdefault(videos[index], []).append(index)
    groups = _evenly(list(by_video.values()), count)
    shares = [0] * len(groups)
    while sum(shares) < count:
        for place, group in enumerate(groups):
            shares[place] += shares[place] < len(group) and sum(shares) < count
    return [index for group, share in zip(groups, shares, strict=True) for index in _evenly(group, share)]


def _evenly(items: Sequence[T], count: int) -> list[T]:
    """The first, the last, and others evenly between them, in their order; all where there are no more."""
    if count >= len(items):
        return list(items)
    return [items[round(place * (len(items) - 1) / max(1, count - 1))] for place in range(count)]
