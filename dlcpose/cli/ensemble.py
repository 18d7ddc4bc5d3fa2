"""`dlcpose ensemble`: the poses of several checkpoints on one video as one, with how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.pose_files import check_new, output_beside, with_step
from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError

if TYPE_CHECKING:
    from dlcpose.exporters.pose_file import Provenance


class Statistic(StrEnum):
    """What becomes of the members' coordinates."""

    MEDIAN = "median"
    MEAN = "mean"


@command("ensemble")
def ensemble_command(
    poses: Annotated[list[Path], typer.Argument(help="Two .poses.h5 files of one video, or more.")],
    statistic: Annotated[Statistic, typer.Option(help="Of the members' coordinates.")] = Statistic.MEDIAN,
    output: Annotated[Path | None, typer.Option(help="The file to write; NAME_ensemble.poses.h5 unless given.")] = None,
) -> None:
    """Combine poses of several checkpoints; columns and names of animals are those of the first file."""
    import numpy as np

    from dlcpose.exporters.pose_file import Provenance, read_pose_tracks, read_provenance, write_pose_tracks
    from dlcpose.postprocessing.ensemble import combine_members

    out = output_beside(poses[0], "ensemble", output)
    check_new(out, poses)
    members = [(path, read_provenance(path)[1]) for path in poses]
    _check_members(members)
    combined = combine_members([read_pose_tracks(path) for path in poses], statistic=statistic.value)
    settings = {
        "statistic": statistic.value,
        "members": [
            {"of": path.name, "checkpoint": made.checkpoint, "checkpoint_hash": made.checkpoint_hash, **made.settings}
            for path, made in members
        ],
    }
    first = members[0][1]
    about_video = Provenance(versions=first.versions, missing_frames=first.missing_frames, problem=first.problem)
    provenance = with_step(about_video, "ensemble", settings, poses[0])
    write_pose_tracks(out, combined, provenance)
    spreads = combined.keypoint_spreads
    assert spreads is not None
    known = spreads[np.isfinite(spreads)]
    spread = f"{np.median(known):.2f} px median spread" if len(known) else "no keypoint that two members share"
    say(f"{out}: {counted(len(combined), 'frame')} of {len(poses)} members, {spread}")


def _check_members(members: Sequence[tuple[Path, Provenance]]) -> None:
    """Raises DataError where two members are the same poses, which would count twice and agree with themselves."""
    for number, (path, made) in enumerate(members):
        for other, made_other in members[:number]:
            is_known = bool(made.checkpoint_hash)  # imported poses have none
            is_same = made.checkpoint_hash == made_other.checkpoint_hash and made.settings == made_other.settings
            if path.samefile(other) or (is_known and is_same):
                raise DataError(
                    f"{path}: expected poses of another checkpoint, or predicted with other settings, than {other}, got the "
                    "same. Leave one of them out."
                )
