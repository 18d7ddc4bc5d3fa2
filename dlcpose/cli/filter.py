"""`dlcpose filter`: cut low scores, fill short gaps and smooth poses over time, into a new file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlcpose.cli.pose_files import check_new, output_beside, with_step
from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError


@command("filter")
def filter_command(
    poses: Annotated[Path, typer.Argument(help="A .poses.h5 file.")],
    cutoff: Annotated[float | None, typer.Option(help="Remove keypoints with a lower score.")] = None,
    interpolate: Annotated[int | None, typer.Option(help="Fill gaps of up to so many frames.")] = None,
    median: Annotated[int | None, typer.Option(help="Median over so many frames, odd.")] = None,
    savgol: Annotated[
        str | None, typer.Option(help="Savitzky-Golay over so many frames, odd, with polynomials of an order: 7,3.")
    ] = None,
    kalman: Annotated[bool, typer.Option("--kalman", help="Kalman smoother, its noise fitted to the poses.")] = False,
    output: Annotated[Path | None, typer.Option(help="The file to write; NAME_filtered.poses.h5 unless given.")] = None,
) -> None:
    """Filter poses over time, in this order: cutoff, interpolate, median, savgol, kalman."""
    from dlcpose.postprocessing.filter_tracks import Filters, filter_tracks

    if not kalman and {cutoff, interpolate, median, savgol} == {None}:
        raise ConfigError("Name a filter to run: --cutoff, --interpolate, --median, --savgol or --kalman.")
    filters = Filters(cutoff=cutoff, interpolate=interpolate, median=median, savgol=_parsed(savgol), kalman=kalman)
    out = output_beside(poses, "filtered", output)
    check_new(out, [poses])
    import numpy as np

    from dlcpose.exporters.pose_file import read_pose_tracks, read_provenance, write_pose_tracks

    tracks = read_pose_tracks(poses)
    filtered = filter_tracks(tracks, filters)
    write_pose_tracks(out, filtered, with_step(read_provenance(poses)[1], "filter", filters.as_dict(), poses))
    before, after = (int((~np.isnan(each.keypoints_in_image[..., 0])).sum()) for each in (tracks, filtered))
    say(f"{out}: {counted(after, 'keypoint')} in {counted(len(filtered), 'frame')}, {before} before")
    if before and not after:
        say(
            f"No keypoint is left: the highest score is {np.nanmax(tracks.keypoint_scores):.2g}. Take a lower --cutoff."
        )


def _parsed(savgol: str | None) -> tuple[int, int] | None:
    if savgol is None:
        return None
    try:
        window, order = (int(part) for part in savgol.split(","))
    except ValueError:
        raise ConfigError(f"--savgol: expected frames and order, such as 7,3, got {savgol!r}.") from None
    return window, order
