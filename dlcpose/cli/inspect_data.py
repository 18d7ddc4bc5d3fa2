"""`dlcpose inspect DATA`: what a data set holds, and what looks wrong in it, before a model is trained on it."""

from pathlib import Path
from typing import Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.cli.say import say

FOLLOW_LINKS = "Also read files that names or links take from outside of the data's folder."


@command("inspect")
def inspect_command(
    data: Annotated[
        Path,
        typer.Argument(
            help="A DeepLabCut project, a COCO json, a .slp of SLEAP, a Lightning Pose csv, or a folder with one."
        ),
    ],
    output: Annotated[Path, typer.Option(help="The contact sheet of frames to write, a PNG or JPEG.")] = Path(
        "inspection.png"
    ),
    follow_links: Annotated[bool, typer.Option("--follow-links", help=FOLLOW_LINKS)] = False,
) -> None:
    """Count what a data set holds, list what looks wrong in it, and draw some of its frames."""
    from rich.console import Console

    from dlcpose.datasets.readers import open_data
    from dlcpose.reports.inspection import inspect_frames, inspection_table, write_contact_sheet
    from dlcpose.visualization.pictures import check_picture_output

    check_picture_output(output, "--output")
    frames = open_data(data, follow_links=follow_links)
    inspection = inspect_frames(frames)
    Console().print(inspection_table(inspection))
    for choice in inspection.augmentation:
        say(f"augmentation: {choice}")
    for finding in inspection.findings:
        say(f"- {finding}")
    if write_contact_sheet(frames, inspection, output):
        say(f"Pictures: {output}")
