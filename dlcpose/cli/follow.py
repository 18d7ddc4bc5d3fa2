"""`dlcpose follow`: the animals of a video, each with a track of its own, as a table."""

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
    checkpoint: Annotated[Path, typer.Argument(help="Of a conditioned model: ctd_*.")],
    video: Annotated[Path, typer.Argument(help="A video file.")],
    out: Annotated[Path | None, typer.Option(help="The CSV to write; beside the video unless given.")] = None,
    conditions: Annotated[
        Path | None, typer.Option(help="The checkpoint, or json of predictions, that new animals come from.")
    ] = None,
    lost_after: Annotated[int, typer.Option(min=0, help="Frames without an animal after which its track ends.")] = 5,
    search_every: Annotated[int, typer.Option(min=1, help="Look for new animals in every so many frames.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; what there is unless given.")] = None,
) -> None:
    """Follow animals through a video: each frame is asked for the animals of the one before."""
    from dlcpose.datasets.video import read_video
    from dlcpose.predict import load
    from dlcpose.visualization.pictures import write_atomic

    predictor = load(checkpoint, device=device, conditions=conditions)
    table, tracks = io.StringIO(), set()
    writer = csv.writer(table, lineterminator="\n")
    columns = [f"{name}_{what}" for name in predictor.skeleton.names for what in ("x", "y", "score")]
    writer.writerow(["frame", "track", "score", *columns])
    followed = predictor.follow(read_video(video), lost_after=lost_after, search_every=search_every)
    for frame, each in enumerate(followed):
        tracks.update(each.tracks.tolist())
        writer.writerows([frame, *row] for row in _rows(each))
    out = out or video.with_suffix(".tracks.csv")
    write_atomic(out, table.getvalue().encode())
    typer.echo(f"{out}: {len(tracks)} tracks")


def _rows(followed: TrackedFrame) -> Iterator[list[str]]:
    """A row for each animal of a frame: track, score, and x, y, score of each keypoint, empty where it was not found."""
    import numpy as np

    prediction = followed.prediction
    for animal, track in enumerate(followed.tracks.tolist()):
        points = np.column_stack([prediction.keypoints_in_image[animal], prediction.keypoint_scores[animal]])  # (K, 3)
        values = [float(prediction.scores[animal]), *points.ravel().tolist()]
        yield [str(track), *("" if value != value else f"{value:.4f}" for value in values)]
