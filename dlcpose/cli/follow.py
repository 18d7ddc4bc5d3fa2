"""`dlcpose follow`: track the animals of a video with a conditional model, and write a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.registry import command

if TYPE_CHECKING:
    from dlcpose.tracking.ctd_tracker import TrackedFrame


@command("follow")
def follow_command(
    checkpoint: Annotated[Path, typer.Argument(help="Of a conditional model: ctd_*.")],
    video: Annotated[Path, typer.Argument(help="A video file.")],
    output: Annotated[Path | None, typer.Option(help="The CSV to write; beside the video unless given.")] = None,
    conditions: Annotated[
        Path | None, typer.Option(help="The checkpoint, or json of predictions, that new animals come from.")
    ] = None,
    max_lost: Annotated[int, typer.Option(min=0, help="Frames without an animal after which its track ends.")] = 5,
    detect_every: Annotated[int, typer.Option(min=1, help="Detect new animals in every n-th frame.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; what there is unless given.")] = None,
) -> None:
    """Track animals through a video: the poses of each frame are the conditions of the next."""
    from dlcpose.datasets.video import read_video
    from dlcpose.predict import load
    from dlcpose.structures.atomic_files import write_output

    predictor = load(checkpoint, device=device, conditions=conditions)
    table, tracks = io.StringIO(), set()
    writer = csv.writer(table, lineterminator="\n")
    columns = [f"{name}_{what}" for name in predictor.skeleton.names for what in ("x", "y", "score")]
    writer.writerow(["frame", "track", "score", *columns])
    followed = predictor.follow(read_video(video), max_lost=max_lost, detect_every=detect_every)
    for frame, each in enumerate(followed):
        tracks.update(each.track_ids.tolist())
        writer.writerows([frame, *row] for row in _rows(each))
    out = output or video.with_suffix(".tracks.csv")
    write_output(out, table.getvalue())
    typer.echo(f"{out}: {len(tracks)} tracks")


def _rows(followed: TrackedFrame) -> Iterator[list[str]]:
    """A row for each animal of a frame: track, score, and x, y, score of each keypoint, empty where it was not detected."""
    import numpy as np

    prediction = followed.prediction
    for animal, track in enumerate(followed.track_ids.tolist()):
        points = np.column_stack([prediction.keypoints_in_image[animal], prediction.keypoint_scores[animal]])  # (K, 3)
        values = [float(prediction.scores[animal]), *points.ravel().tolist()]
        yield [str(track), *("" if value != value else f"{value:.4f}" for value in values)]
