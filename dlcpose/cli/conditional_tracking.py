"""Tracking by conditioning, as `dlcpose track` does it with a conditional model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from dlcpose.cli.progress import frames_shown


def follow_video(
    video: Path,
    checkpoint: Path,
    output: Path,
    conditions: Path | None,
    device: str | None,
    settings: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Follow the animals of a video with a conditional model into a file of poses, and say what is there.

    settings: of `tracking.ctd_tracker.CtdTracker`. Raises ConfigError for a model that takes no pose conditions, DataError
    for what is no video, and for a file of another video, model or settings unless `overwrite`.
    """
    from dlcpose.predict import load

    predictor = load(checkpoint, device=device, conditions=conditions)
    with frames_shown(video.name) as shown:
        outcome = predictor.follow_video(video, output, overwrite=overwrite, progress=shown, **settings)
    if outcome.problem is not None:
        typer.echo(outcome.problem)
    there = "there already, of the same video, model and settings" if outcome.was_there else f"{outcome.frames} frames"
    typer.echo(f"{output}: {there}")


def write_followed(followed: Path, output: Path) -> None:
    """Write the tracks of a followed video as they were followed, with a column for each, and say how many there are."""
    from dlcpose.exporters.pose_file import read_pose_tracks, read_provenance, write_pose_tracks
    from dlcpose.prediction.followed_video import FOLLOWING, column_for_each_track

    provenance = read_provenance(followed)[1]
    tracks = column_for_each_track(read_pose_tracks(followed), int(provenance.settings[FOLLOWING]["pause"]))
    write_pose_tracks(output, tracks, provenance)
    typer.echo(f"{output}: {int(tracks.is_present.any(axis=0).sum())} tracks")
