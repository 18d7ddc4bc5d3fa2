"""Tracking by conditioning, as `dlcpose track` does it with a conditional model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer


def track_by_conditioning(
    video: Path,
    checkpoint: Path,
    output: Path | None,
    conditions: Path | None,
    device: str | None,
    settings: Mapping[str, Any],
) -> None:
    """Write NAME.tracks.poses.h5, with a column for each track, and say how many there are.

    settings: of `tracking.ctd_tracker.CtdTracker`. Raises ConfigError for a model that takes no pose conditions, DataError
    for what is no video.
    """
    from dlcpose.exporters.pose_file import Provenance, write_pose_tracks
    from dlcpose.predict import load
    from dlcpose.structures.versions import versions

    predictor = load(checkpoint, device=device, conditions=conditions)
    tracks, reader = predictor.track_video(video, **settings)
    out = output or video.with_name(f"{video.stem}.tracks.poses.h5")
    provenance = Provenance(
        checkpoint=str(checkpoint),
        checkpoint_hash=predictor.model.checkpoint_hash,
        settings={"tracking": {"conditions": None if conditions is None else str(conditions), **settings}},
        versions=versions(),
        seconds={"decode": reader.seconds},
        missing_frames=tuple((each.start, each.stop - 1) for each in reader.missing),
        problem=reader.problem,
    )
    write_pose_tracks(out, tracks, provenance)
    if reader.problem is not None:
        typer.echo(reader.problem)
    typer.echo(f"{out}: {int(tracks.is_present.any(axis=0).sum())} tracks")
