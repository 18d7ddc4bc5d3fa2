"""`dlcpose render`: write rendered animals with exact labels, to try any tool on."""

from pathlib import Path
from typing import Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError


@command("render")
def render_command(
    out: Annotated[Path, typer.Argument(help="Folder to write, new or empty; with --format sleap a new .pkg.slp.")],
    frames: Annotated[int, typer.Option(help="How many frames, over all videos.")] = 200,
    format: Annotated[
        str,
        typer.Option(
            help="deeplabcut (a project with videos), coco, sleap (a .pkg.slp), lightning_pose, or a plugin's."
        ),
    ] = "deeplabcut",
    animals: Annotated[int, typer.Option(help="Animals in each video.")] = 1,
    skeleton: Annotated[str, typer.Option(help="quadruped, mouse or fly.")] = "quadruped",
    videos: Annotated[int, typer.Option(help="Videos, each with an arena, light and coat of its own.")] = 4,
    height: Annotated[int, typer.Option(help="Pixels.")] = 256,
    width: Annotated[int, typer.Option(help="Pixels.")] = 256,
    occlusion: Annotated[float, typer.Option(help="Share of the image that is occluded.")] = 0.05,
    identity_marks: Annotated[bool, typer.Option(help="Paint each individual in colors of its own.")] = False,
    unique_points: Annotated[int, typer.Option(help="Landmarks of the arena to label, up to 6.")] = 0,
    fps: Annotated[float, typer.Option(help="Frames per second of the motion and of the videos.")] = 10.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
) -> None:
    """Write rendered animals with exact labels, as a DeepLabCut project or in another format of labels."""
    if not 0.001 <= fps <= 1000:
        raise ConfigError(f"--fps: expected 0.001 to 1000, got {fps}.")
    from dlcpose.datasets.synthetic.frames import SyntheticFrames
    from dlcpose.exporters.label_formats import find_format

    label_format = find_format(format)
    label_format.check_name(out)
    data = SyntheticFrames(
        frames=frames,
        height=height,
        width=width,
        animals=animals,
        skeleton=skeleton,
        videos=min(videos, frames) if frames > 0 else videos,  # a video without a frame is no video
        occlusion=occlusion,
        identity_marks=identity_marks,
        unique_points=unique_points,
        seconds_between_frames=1 / fps,
        seed=seed,
    )
    label_format.write(data, out, fps=fps)
    say(
        f"{out}: {counted(len(data), 'frame')} of {animals} {skeleton} in "
        f"{counted(len({f.video for f in data.frames}), 'video')}."
    )
