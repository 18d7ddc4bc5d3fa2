"""`dlcpose draw`: a video with its poses drawn in, for the browser, and a sheet of its frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.pose_files import check_ending, check_new, stem_of, video_of
from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError

MIN_SIDE = 16  # px of a drawn picture, in which nothing can be seen any more

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dlcpose.datasets.video import VideoReader
    from dlcpose.structures.sample import Image


@command("draw")
def draw_command(
    poses: Annotated[Path, typer.Argument(help="A .poses.h5 file.")],
    video: Annotated[Path | None, typer.Option(help="The video, if it has been moved since prediction.")] = None,
    output: Annotated[Path | None, typer.Option(help="The mp4 to write; NAME_labeled.mp4 unless given.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="A PNG or JPEG to write with frames from all of the video.")
    ] = None,
    trail: Annotated[int, typer.Option(min=0, help="Frames of an animal's path to show.")] = 25,
    cutoff: Annotated[
        float, typer.Option(min=0, max=1, help="Hide keypoints with a lower score, but for interpolated ones.")
    ] = 0.3,
    scale: Annotated[float | None, typer.Option(help="Enlarge; small videos are enlarged unless given.")] = None,
    start: Annotated[int, typer.Option(min=0, help="The first frame.")] = 0,
    stop: Annotated[int | None, typer.Option(help="The frame to stop before.")] = None,
) -> None:
    """Draw poses on their video: skeletons, trails, names; opacity shows the keypoints' scores."""
    if stop is not None and stop <= start:
        raise ConfigError(f"--stop: expected a frame after --start {start}, got {stop}.")
    if scale is not None and not 0 < scale <= 16:
        raise ConfigError(f"--scale: expected more than 0 and at most 16, got {scale}.")
    import numpy as np

    from dlcpose.datasets.video import VideoReader
    from dlcpose.exporters.pose_file import read_pose_tracks
    from dlcpose.visualization.pictures import check_picture_output, write_picture
    from dlcpose.visualization.video import PoseDrawer, SheetOfFrames, write_labeled_video
    from dlcpose.visualization.video_file import MAX_SIDE

    out = output or poses.with_name(f"{stem_of(poses)}_labeled.mp4")
    check_ending(out, ".mp4")
    if sheet is not None:
        check_picture_output(sheet, "--sheet")
    tracks = read_pose_tracks(poses)
    source = video_of(tracks, video, poses)
    check_new(out, [source])
    is_drawn = (tracks.frame_indices >= start) & (tracks.frame_indices < (np.inf if stop is None else stop))
    rows = np.flatnonzero(is_drawn)
    if not len(rows):
        raise DataError(f"{poses}: expected poses from frame {start} on{f' before {stop}' if stop else ''}, got none.")
    drawer = PoseDrawer(tracks, cutoff=cutoff, trail=trail, scale=scale)
    if min(drawer.size) < min(MIN_SIDE, tracks.video.width, tracks.video.height):
        shortest = min(tracks.video.width, tracks.video.height)
        raise ConfigError(
            f"--scale: expected pictures of at least {MIN_SIDE} px on a side, got {drawer.size[0]}x{drawer.size[1]}. Take "
            f"--scale {min(1.0, math.ceil(100 * MIN_SIDE / shortest) / 100):g} or more."
        )
    if max(drawer.size) > MAX_SIDE:
        longest = max(tracks.video.width, tracks.video.height)
        raise ConfigError(
            f"--scale: expected pictures of at most {MAX_SIDE} px on a side, as H.264 has, got "
            f"{drawer.size[0]}x{drawer.size[1]}. Take --scale {math.floor(100 * MAX_SIDE / longest) / 100:g} or less."
        )
    collected = SheetOfFrames(drawer, rows)
    reader = VideoReader(source, start=int(tracks.frame_indices[rows[0]]), stop=int(tracks.frame_indices[rows[-1]]) + 1)
    count = write_labeled_video(out, drawer, _numbered(reader), seen=collected)
    say(f"{out}: {counted(count, 'frame')} at {drawer.size[0]}x{drawer.size[1]}")
    _report_hidden(np.concatenate([tracks.keypoint_scores[rows].ravel(), tracks.unique_scores[rows].ravel()]), cutoff)
    if count < len(rows):
        say(f"{counted(len(rows) - count, 'frame')} with poses could not be decoded. {reader.problem or ''}".rstrip())
    if sheet is not None:
        write_picture(sheet, collected.picture())
        say(f"{sheet}: a sheet of frames")


def _report_hidden(scores: npt.NDArray[np.float32], cutoff: float) -> None:
    """Print how many of the predicted keypoints are not drawn, if any: where it is all of them, the video seems empty."""
    predicted = scores[scores > 0]
    if hidden := int((predicted < cutoff).sum()):
        say(f"{hidden} of {counted(len(predicted), 'keypoint')} not drawn: scores below --cutoff {cutoff:g}.")


def _numbered(reader: VideoReader) -> Iterator[tuple[int, Image]]:
    for frame in reader:
        yield frame.index, frame.image
