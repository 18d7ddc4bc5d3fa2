"""Tracking by conditioning, as `dlcpose track` does it with a conditional model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.cli.pose_files import SUFFIX, stem_of
from dlcpose.cli.progress import frames_shown
from dlcpose.cli.say import say
from dlcpose.cli.tracks_file import FOLLOWED, TRACKS, check_outputs, check_uncorrected, track_file, tracks_beside
from dlcpose.structures.counted import counted

if TYPE_CHECKING:
    from dlcpose.tracking.settings import TrackingSettings

THERE = "there already, of the same video, model and settings"


def track_by_conditioning(
    video: Path,
    checkpoint: Path,
    output: Path | None,
    following: Mapping[str, Any],
    joining: TrackingSettings | None,
    *,
    conditions: Path | None,
    device: str | None,
    corrections: Path | None,
    review: Path | None,
    overwrite: bool,
) -> None:
    """Follow the animals of a video into NAME.followed.poses.h5, and write their tracks to NAME.tracks.poses.h5.

    following: settings of `tracking.ctd_tracker.CtdTracker`. joining: by which what was followed is joined to tracks of as
    many animals as there are; None: each is a track as it was followed. The others as of the command. What would stop the
    command after the video has been followed, stops it before.
    """
    from dlcpose.tracking.corrections import read_corrections

    out = output or tracks_beside(video.with_name(f"{video.stem}{SUFFIX}"))
    check_outputs(out, review, [video, checkpoint, conditions, corrections])
    if corrections is not None:
        read_corrections(corrections)
    elif not overwrite:
        check_uncorrected(out)
    followed = out.with_name(f"{stem_of(out).removesuffix(TRACKS)}{FOLLOWED}{SUFFIX}")
    _follow_video(video, checkpoint, followed, conditions, device, following, overwrite=overwrite)
    if joining is None:
        _write_followed(followed, out)
    else:
        track_file(followed, joining, out, video=video, corrections=corrections, review=review, overwrite=overwrite)


def _follow_video(
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

    Raises ConfigError for a model that takes no pose conditions, DataError for what is no video, and for a file of another
    video, model or settings unless `overwrite`.
    """
    from dlcpose.prediction.followed_video import was_followed

    if not overwrite and was_followed(checkpoint, conditions, video, output, settings):
        say(f"{output}: {THERE}")
        return
    from dlcpose.predict import load

    predictor = load(checkpoint, device=device, conditions=conditions)
    with frames_shown(video.name) as shown:
        outcome = predictor.follow_video(video, output, overwrite=overwrite, progress=shown, **settings)
    if outcome.problem is not None:
        say(outcome.problem)
    say(f"{output}: {THERE if outcome.was_there else counted(outcome.frames, 'frame')}")


def _write_followed(followed: Path, output: Path) -> None:
    """Write the tracks of a followed video as they were followed, with a column for each, and say how many there are."""
    from dlcpose.exporters.pose_file import read_pose_tracks, read_provenance, write_pose_tracks
    from dlcpose.prediction.followed_video import FOLLOWING, column_for_each_track

    provenance = read_provenance(followed)[1]
    tracks = column_for_each_track(read_pose_tracks(followed), int(provenance.settings[FOLLOWING]["pause"]))
    write_pose_tracks(output, tracks, provenance)
    say(f"{output}: {counted(int(tracks.is_present.any(axis=0).sum()), 'track')}")
