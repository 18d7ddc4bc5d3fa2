"""`dlcpose convert FROM TO`: convert labeled data to another format, and list what that format cannot hold."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.inspect_data import FOLLOW_LINKS
from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError

if TYPE_CHECKING:
    from dlcpose.datasets.base import LabeledFrames
    from dlcpose.exporters.label_formats import LabelFormat


@command("convert")
def convert_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FROM", help="A DeepLabCut project, a COCO json, a .slp, a Lightning Pose csv or folder."
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(metavar="TO", help="A new folder, or a new .pkg.slp (images inside) or .slp (images named)."),
    ],
    to: Annotated[
        str | None,
        typer.Option(help="deeplabcut, coco, sleap, lightning_pose, or a plugin's; by TO's ending where it has one."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace data at TO that has only what this format writes.")] = False,
    follow_links: Annotated[bool, typer.Option("--follow-links", help=FOLLOW_LINKS)] = False,
) -> None:
    """Write labeled frames with their images in another format, and list what that cannot hold."""
    from dlcpose.datasets.readers import open_data
    from dlcpose.exporters.label_formats import find_format, format_for

    format = format_for(target) if to is None else find_format(to, "--to")
    format.check_name(target)
    _check_apart(source, target)
    data = open_data(source, follow_links=follow_links)
    losses = format.losses(data, target)
    _write(format, data, target, overwrite)
    animals = sum(len(frame) for frame in data.frames)
    say(f"{target}: {counted(len(data), 'frame')} with {counted(animals, 'animal')} as {format.name}")
    for loss in losses:
        say(f"- lost: {loss}")
    if not losses:
        say("Nothing is lost.")


def _check_apart(source: Path, target: Path) -> None:
    one, other = source.resolve(), target.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise DataError(f"{target}: expected a place apart from {source}, got the same or one inside the other.")


def _write(format: "LabelFormat", data: "LabeledFrames", target: Path, overwrite: bool) -> None:
    from dlcpose.datasets.readers import READERS
    from dlcpose.structures.atomic_files import atomic_folder, check_new_folder, move_into, staged_files

    if not target.exists() or (not format.suffix and not overwrite):
        format.write(data, target, fps=None)
        return
    if not overwrite:
        raise DataError(f"{target}: expected a new file, got one that is there. --overwrite replaces it.")
    reader = READERS.load().get(format.name)
    if format.suffix:
        with staged_files(target.parent) as staging:  # under its own name, since formats look at how that ends
            format.write(data, staging / target.name, fps=None)
            move_into(target, staging / target.name)
        return
    # A whole folder is replaced: it had better be such data and nothing else, not somebody's home or project.
    if reader is None or not reader.can_open(target):
        check_new_folder(target)
    else:
        format.check_replaceable(target, reader.open(target))
    with atomic_folder(target, replace=True) as partial:
        format.write(data, partial, fps=None)
