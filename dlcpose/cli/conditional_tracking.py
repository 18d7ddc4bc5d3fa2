"""Tracking by conditioning, as `dlcpose track` does it with a conditional model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from dlcpose.exporters.pose_file import Provenance
    from dlcpose.prediction.followed_video import FollowedVideo


def follow_video(
    video: Path, checkpoint: Path, conditions: Path | None, device: str | None, settings: Mapping[str, Any]
) -> tuple["FollowedVideo", "Provenance"]:
    """The animals of a video as a conditional model follows them.

    settings: of `tracking.ctd_tracker.CtdTracker`. Raises ConfigError for a model that takes no pose conditions, DataError
    for what is no video.
    """
    from dlcpose.exporters.pose_file import Provenance
    from dlcpose.predict import load
    from dlcpose.structures.versions import versions

    predictor = load(checkpoint, device=device, conditions=conditions)
    followed = predictor.follow_video(video, **settings)
    reader = followed.reader
    provenance = Provenance(
        checkpoint=str(checkpoint),
        checkpoint_hash=predictor.model.checkpoint_hash,
        settings={
            "following": {
                "conditions": None if conditions is None else str(conditions),
                "precision": followed.precision,
                **settings,
            }
        },
        versions=versions(),
        seconds={"decode": reader.seconds},
        missing_frames=tuple((each.start, each.stop - 1) for each in reader.missing),
        problem=reader.problem,
    )
    if reader.problem is not None:
        typer.echo(reader.problem)
    return followed, provenance


def write_followed(output: Path, followed: "FollowedVideo", provenance: "Provenance") -> None:
    """Write the tracks as they were followed, with a column for each, and say how many there are."""
    from dlcpose.exporters.pose_file import write_pose_tracks

    tracks = followed.tracks()
    write_pose_tracks(output, tracks, provenance)
    typer.echo(f"{output}: {int(tracks.is_present.any(axis=0).sum())} tracks")
