"""`dlcpose propose`: the frames worth labeling next, with their poses, for DeepLabCut, napari and SLEAP."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcpose.cli.inspect_data import FOLLOW_LINKS
from dlcpose.cli.pose_files import stem_of, video_of
from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dlcpose.datasets.deeplabcut_config import ProjectConfig
    from dlcpose.structures.pose_tracks import PoseTracks
    from dlcpose.structures.sample import Image

THUMBNAIL = 32  # px, the longer side of the images that are compared


class Diversity(StrEnum):
    """By what frames are compared, so that chosen ones differ."""

    IMAGES = "images"
    POSES = "poses"


@command("propose")
def propose_command(
    poses: Annotated[Path, typer.Argument(help="A .poses.h5 file.")],
    video: Annotated[Path | None, typer.Option(help="The video, if it has been moved since prediction.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="How many frames to choose.")] = 20,
    project: Annotated[
        Path | None, typer.Option(help="A DeepLabCut project: its names are used, frames it has are not chosen.")
    ] = None,
    into_project: Annotated[
        bool, typer.Option("--into-project", help="Write into the project's labeled-data instead of a new folder.")
    ] = False,
    follow_links: Annotated[bool, typer.Option("--follow-links", help=FOLLOW_LINKS)] = False,
    output: Annotated[Path | None, typer.Option(help="The new folder to write; NAME_to_label unless given.")] = None,
    diverse: Annotated[
        Diversity, typer.Option(help="By what frames are compared, so that chosen ones differ.")
    ] = Diversity.IMAGES,
    seed: Annotated[int, typer.Option(min=0, help="The same seed chooses the same frames.")] = 0,
) -> None:
    """Choose diverse frames whose poses look wrong, and write them for correction."""
    if into_project and project is None:
        raise ConfigError("--into-project: expected --project PROJECT, got none.")
    if into_project and output is not None:
        raise ConfigError("--into-project: expected no --output beside it. Leave one of them out.")
    if follow_links and project is None:
        raise ConfigError("--follow-links: expected --project PROJECT, whose links it follows, got none.")
    from dlcpose.exporters.pose_file import read_pose_tracks
    from dlcpose.postprocessing.frames_to_label import rank_frames, rate_frames

    tracks = read_pose_tracks(poses)
    source = video_of(tracks, video, poses)
    config, in_project, known = _look_into_project(project, source, follow_links=follow_links)
    out = output or poses.with_name(f"{stem_of(poses)}_to_label")
    if into_project and in_project is not None:
        out = in_project
    _check_output(out, config if into_project else None)
    _check_choice(poses, tracks, known)
    worth, reasons = rank_frames(rate_frames(tracks))
    images = _read_images(tracks, source, _choose(tracks, source, worth, known, frames, diverse, seed))
    if not images:
        raise DataError(f"{source}: expected frames of the poses to choose from, but none of them can be decoded.")
    table = _reasons_table(tracks, sorted(images), worth, reasons)
    _write(out, tracks, source, images, config, None if into_project else table)
    _report(out, tracks, sorted(images), reasons, frames)
    if into_project and config is not None and source.stem not in config.videos:
        say(
            f"{config.folder / 'config.yaml'}: video_sets does not name {source.name}, so DeepLabCut itself will not "
            "train on these frames. Add the video with deeplabcut.add_new_videos."
        )


def _look_into_project(
    project: Path | None, video: Path, *, follow_links: bool
) -> tuple[ProjectConfig | None, Path | None, npt.NDArray[np.int64]]:
    """A project's config, its folder for the labels of a video, and the numbers of the frames in there, rising.

    Raises DataError where links lead out of the project, unless they may be followed: what is written would go there too.
    """
    import numpy as np

    from dlcpose.datasets.deeplabcut_config import project_folder, read_project_config
    from dlcpose.exporters.machine_labels import frames_in_folder
    from dlcpose.structures.data_files import InsideFolder

    if project is None:
        return None, None, np.zeros(0, np.int64)
    project = project_folder(project)
    folder = project / "labeled-data" / video.stem
    links = None if follow_links else InsideFolder(project)
    if links is not None:
        links.check(project / "config.yaml")
        links.check(folder)
    return read_project_config(project), folder, np.array(sorted(frames_in_folder(folder, links)), np.int64)


def _check_output(out: Path, config: ProjectConfig | None) -> None:
    """Raise DataError where the output is not free, or cannot be written.

    config: of the project that is written into, None for a new folder.
    """
    from dlcpose.exporters.machine_labels import check_no_machine_labels
    from dlcpose.structures.atomic_files import check_new_folder, check_writable

    if config is None:
        check_new_folder(out, "--output")
    else:
        check_no_machine_labels(out, config.iteration)
    check_writable(out, "--output" if config is None else "--project")


def _check_choice(poses: Path, tracks: PoseTracks, known: npt.NDArray[np.int64]) -> None:
    """Raise DataError where there is no frame to choose: none has been predicted, or the project has them all."""
    import numpy as np

    if not len(tracks):
        raise DataError(
            f"{poses}: expected poses of frames to choose from, got none. Predict frames of the video first."
        )
    if np.isin(tracks.frame_indices, known).all():
        raise DataError(
            f"{poses}: expected frames to choose from, but the project has all {len(tracks)} of them already. Predict "
            "other frames or another video."
        )


def _write(
    out: Path,
    tracks: PoseTracks,
    video: Path,
    images: Mapping[int, Image],
    project: ProjectConfig | None,
    table: str | None,
) -> None:
    """Write frames and poses into a folder of labeled-data or, with a table of reasons, into a new folder with it."""
    from dlcpose.exporters.machine_labels import columns_for, write_machine_labels, write_sleap_suggestions
    from dlcpose.structures.atomic_files import atomic_folder

    columns = columns_for(tracks, project)
    iteration = 0 if project is None else project.iteration
    if table is None:
        write_machine_labels(out, tracks, images, columns, iteration=iteration)
        return
    with atomic_folder(out) as partial:
        folder = partial / "labeled-data" / video.stem
        folder.mkdir(parents=True)
        write_machine_labels(folder, tracks, images, columns, iteration=iteration)
        write_sleap_suggestions(partial / f"{video.stem}.slp", tracks, sorted(images), video.resolve())
        (partial / "frames.csv").write_text(table, encoding="utf-8")


def _choose(
    tracks: PoseTracks,
    video: Path,
    worth: npt.NDArray[Any],
    known: npt.NDArray[Any],
    count: int,
    diverse: Diversity,
    seed: int,
) -> list[int]:
    """The rows to label, rising."""
    import numpy as np

    from dlcpose.postprocessing.frames_to_label import choose_diverse, pool_of_frames, pose_features

    pool = pool_of_frames(tracks, worth, known, count)
    if diverse is Diversity.POSES:
        features = pose_features(tracks, pool)
    else:
        thumbnails = _read_images(tracks, video, pool.tolist(), thumbnails=True)
        pool = np.array(sorted(thumbnails), np.int64)  # but for frames that cannot be decoded
        features = np.array([thumbnails[row].ravel() for row in pool.tolist()], float)
    return [int(row) for row in pool[choose_diverse(features, worth[pool], count, np.random.default_rng(seed))]]


def _read_images(tracks: PoseTracks, video: Path, rows: Sequence[int], *, thumbnails: bool = False) -> dict[int, Image]:
    """Frames of some rows by row, as they are or small; those that cannot be decoded are left out."""
    import cv2
    import numpy as np

    from dlcpose.datasets.video import VideoReader

    row_of = {int(tracks.frame_indices[row]): row for row in rows}
    if not row_of:
        return {}
    images: dict[int, Image] = {}
    scale = min(1.0, THUMBNAIL / max(tracks.video.height, tracks.video.width))
    size = (max(1, round(tracks.video.width * scale)), max(1, round(tracks.video.height * scale)))
    for frame in VideoReader(video, start=min(row_of), stop=max(row_of) + 1):
        if (row := row_of.get(frame.index)) is not None:
            small = thumbnails and cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
            images[row] = np.asarray(small if thumbnails else frame.image, np.uint8)
    return images


def _reasons_table(tracks: PoseTracks, rows: Sequence[int], worth: npt.NDArray[Any], reasons: Sequence[str]) -> str:
    import numpy as np

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["frame", "seconds", "reason", "rank"])
    for row in rows:
        seconds = "" if np.isnan(tracks.times[row]) else f"{tracks.times[row]:.4f}"  # a video may tell no times
        writer.writerow([tracks.frame_indices[row], seconds, reasons[row], f"{worth[row]:.4f}"])
    return text.getvalue()


def _report(out: Path, tracks: PoseTracks, rows: Sequence[int], reasons: Sequence[str], requested: int) -> None:
    chosen = [reasons[row] for row in rows]
    counts = ", ".join(f"{chosen.count(reason)} for {reason}" for reason in sorted(set(chosen)))
    say(f"{out}: {counted(len(rows), 'frame')} to label: {counts}")
    if len(rows) < requested:
        say(f"--frames {requested}: the video has no more frames that are not labeled already.")
    say("frames " + ", ".join(str(tracks.frame_indices[row]) for row in rows))
