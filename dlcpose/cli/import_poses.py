"""`dlcpose import-poses`: predictions of other programs as files of poses, which all other commands take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.pose_files import SUFFIX
from dlcpose.cli.prediction_inputs import VIDEOS
from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.printable import printable

if TYPE_CHECKING:
    from dlcpose.importers.pose_formats import ForeignPoses
    from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo

IMPORTED = "imported"  # key in a file's provenance: the file that poses were imported from, its program and scorer
BEYOND = 0.01  # share of a video's frames by which poses may go on after its end: containers count more than there are
MAX_SIDE = 2**20  # px of a frame
OUTSIDE = 0.1  # share of the keypoints outside the frames from which on the video may be another one


@command("import-poses")
def import_poses_command(
    tables: Annotated[
        list[Path],
        typer.Argument(
            help="DeepLabCut's .h5 and .csv, SLEAP's .slp and .analysis.h5, movement's .nc, our csv and parquet."
        ),
    ],
    video: Annotated[
        Path | None, typer.Option(help="The video, or a folder with the videos; beside each table unless given.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write to; beside each table unless given.")] = None,
    project: Annotated[
        Path | None, typer.Option(help="A DeepLabCut project, whose skeleton gives the edges that tables lack.")
    ] = None,
    tracked: Annotated[
        bool | None,
        typer.Option(
            "--tracked/--untracked",
            help="Whether a column is the same animal in every frame; the file tells unless given.",
        ),
    ] = None,
    offset: Annotated[
        str | None,
        typer.Option(
            help="X,Y: the corner of the part of the frame that was predicted, where coordinates count from it."
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of the frames, where the video is not there.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second, where the video is not there.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")] = False,
) -> None:
    """Import poses that another program predicted: NAME.poses.h5, to track, filter, review, draw or convert."""
    from dlcpose.importers.pose_formats import read_foreign_poses

    if video is not None and video.is_file() and len(tables) > 1:
        raise ConfigError(
            f"--video: expected a folder with the videos of {len(tables)} tables, got one video, {video}. Import one by one."
        )
    if fps is not None and not 0 < fps < 1e6:
        raise ConfigError(f"--fps: expected frames per second above 0, got {fps}.")
    shift, frame_size = _parsed_offset(offset), _parsed_size(size)
    taken: dict[Path, Path] = {}
    for table in tables:
        found = read_foreign_poses(table, is_tracked=tracked)
        if len(found) > 1 and video is not None and video.is_file():
            raise ConfigError(
                f"--video: {table} has poses of {len(found)} videos. Give the folder that they lie in, not one of them."
            )
        for poses in found:
            source = find_video(poses.video, table, video)
            out = (output or table.parent) / f"{_name(poses.video, source)}{SUFFIX}"
            if out in taken:
                raise DataError(
                    f"{table}: its poses would have the name of those of {taken[out]}, {out}. Import one of them."
                )
            taken[out] = table
            if out.exists() and not overwrite:
                raise DataError(f"{out}: it is there already. --overwrite replaces it, --output writes elsewhere.")
            _import(poses, table, out, source, project, shift, frame_size, fps)


def find_video(name: str, table: Path, given: Path | None) -> Path | None:
    """The video that a table's poses are of: the one that is given, else the one of this name beside the table.

    name: as the table tells it: a path, of any system, or a name without an ending. given: a video, or a folder to look
    in. None where there is no such video. Raises ConfigError for a path that is not there, or several that fit.
    """
    if given is not None and not given.is_dir():
        if not given.exists():
            raise ConfigError(f"--video: {given}: there is no video or folder at this path. Correct it.")
        return given
    folder, own = given or table.parent, PureWindowsPath(name).name
    if not own or "\0" in name:
        return None
    if (folder / own).is_file():
        return folder / own
    if own.lower().endswith(VIDEOS):
        return Path(name) if given is None and Path(name).is_file() else None
    fitting = sorted(path for path in folder.iterdir() if path.stem == own and path.suffix.lower() in VIDEOS)
    if len(fitting) > 1:
        raise ConfigError(
            f"{table}: its video may be any of {', '.join(path.name for path in fitting)}. Give it with --video."
        )
    return fitting[0] if fitting else None


def _import(
    poses: ForeignPoses,
    table: Path,
    output: Path,
    source: Path | None,
    project: Path | None,
    offset: tuple[float, float] | None,
    size: tuple[int, int] | None,
    fps: float | None,
) -> None:
    """Write the poses of one video and say what they are; source: the video, None where it is not there."""
    from dlcpose.datasets.deeplabcut_config import project_folder, read_project_config
    from dlcpose.datasets.video import frame_times, video_info
    from dlcpose.exporters.pose_file import Provenance, check_rows, write_pose_tracks
    from dlcpose.importers.pose_formats import pose_tracks, times_of, with_edges
    from dlcpose.prediction.loaded_model import sha256_of

    if poses.is_cropped and offset is None:
        raise ConfigError(
            f"{table}: SLEAP shows a part of the video {poses.video}, and coordinates count from its corner. Say where that "
            "lies with --offset X,Y."
        )
    if project is not None:
        poses = with_edges(poses, read_project_config(project_folder(project)).skeleton, project)
    if source is None:
        video = _described(poses, table, size, fps)
        times = poses.frames / video.fps
    elif size is not None or fps is not None:
        raise ConfigError(f"--size, --fps: the video is there, and says it itself: {source}. Leave them out.")
    else:
        video, times = video_info(source.absolute()), times_of(poses.frames, frame_times(source))
    tracks, notes = pose_tracks(poses, table, video, times, offset or (0.0, 0.0))
    check_rows(tracks, table)
    notes = (*notes, *_doubts(poses, tracks, table))
    origin = {
        "file": table.name,
        "sha256": sha256_of(table),
        "program": poses.program,
        "scorer": poses.scorer,
        **({"offset": list(offset)} if offset else {}),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    write_pose_tracks(output, tracks, Provenance(settings={IMPORTED: origin}))
    say(f"{output}: {_summary(poses, tracks)}")
    for note in notes:
        say(f"  {note}")


def _described(poses: ForeignPoses, table: Path, size: tuple[int, int] | None, fps: float | None) -> VideoInfo:
    """What is known of a video that is not there. Raises ConfigError where that is not its frames' size."""
    from dlcpose.structures.pose_tracks import VideoInfo

    height, width = poses.size or size or (0, 0)
    if poses.size and size and poses.size != size:
        raise ConfigError(f"--size: {table} says that frames are {width}x{height}, got {size[1]}x{size[0]}.")
    if not height:
        raise ConfigError(
            f"{table}: its video, {poses.video or 'of no name'}, is not there. Give it with --video, or the size of its "
            "frames with --size WIDTHxHEIGHT (and --fps): what shows frames (draw, review, propose) then has none to show."
        )
    return VideoInfo(poses.video, "", height, width, int(poses.frames[-1]) + 1, float("nan") if fps is None else fps)


def _doubts(poses: ForeignPoses, tracks: PoseTracks, table: Path) -> Iterator[str]:
    """Notes on what does not fit the video. Raises DataError where the poses cannot be of it."""
    import numpy as np

    video, last = tracks.video, int(tracks.frame_indices[-1])
    if poses.size is not None and poses.size != (video.height, video.width):
        raise DataError(
            f"{table}: its poses are of frames of {poses.size[1]}x{poses.size[0]} px, but {video.path} has frames of "
            f"{video.width}x{video.height} px. Give the video that was predicted with --video."
        )
    if last >= video.frames:
        if last >= video.frames * (1 + BEYOND) + 1:
            raise DataError(
                f"{table}: it has poses of frame {last}, but {video.path} has {counted(video.frames, 'frame')}. "
                "Give the video that was "
                "predicted with --video."
            )
        yield f"poses go on to frame {last}, but the video has {counted(video.frames, 'frame')}"
    points = tracks.keypoints_in_image[~np.isnan(tracks.keypoints_in_image).any(axis=-1)]  # (P, 2)
    is_outside = ((points < -0.5) | (points > np.array([video.width, video.height]) - 0.5)).any(axis=-1)
    if len(points) and is_outside.mean() > OUTSIDE:
        yield (
            f"{is_outside.mean():.0%} of the keypoints lie outside the frames of {video.width}x{video.height} px: is it "
            "another video, or was a part of its frames predicted (--offset)?"
        )


def _summary(poses: ForeignPoses, tracks: PoseTracks) -> str:
    animals, video = len(tracks.individuals), tracks.video
    columns = (
        counted(animals, "tracked animal") if tracks.is_tracked else f"up to {counted(animals, 'untracked animal')}"
    )
    if animals == 1:
        columns = "1 animal"
    unique = f" and {counted(len(tracks.skeleton.unique), 'unique keypoint')}" if tracks.skeleton.unique else ""
    scorer = f" ({printable(poses.scorer, max_length=80)})" if poses.scorer else ""
    of = f"video {video.path}" if video.fingerprint else "without its video"
    return (
        f"{counted(len(tracks), 'frame')}, {columns} of {counted(len(tracks.skeleton), 'keypoint')}{unique}, by "
        f"{poses.program}{scorer}; "
        f"{printable(of)}"
    )


def _name(video: str, source: Path | None) -> str:
    """The name that a file of poses has after its video."""
    from dlcpose.exporters.file_names import file_part

    if source is not None:
        return source.stem
    own = PureWindowsPath(video)
    return file_part(own.stem if own.name.lower().endswith(VIDEOS) else own.name) or "video"


def _parsed_offset(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = float("nan")
    if not (0 <= x < 1e6 and 0 <= y < 1e6):
        raise ConfigError(f"--offset: expected X,Y in pixels, such as 120,80, got {text!r}.")
    return x, y


def _parsed_size(text: str | None) -> tuple[int, int] | None:
    """(height, width) of WIDTHxHEIGHT."""
    if text is None:
        return None
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ConfigError(f"--size: expected WIDTHxHEIGHT in pixels, such as 1280x720, got {text!r}.")
    return height, width
