"""Shared by the commands that read and write `.poses.h5` files: names of outputs, and the processing history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.structures.atomic_files import check_writable
from dlcpose.structures.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dlcpose.exporters.pose_file import Provenance
    from dlcpose.structures.pose_tracks import PoseTracks

SUFFIX = ".poses.h5"  # as in exporters.pose_file, which would import h5py
HISTORY = "postprocessing"  # key in a file's provenance: the processing steps after prediction, in order


def stem_of(poses: Path) -> str:
    """The name of a file of poses without its ending."""
    return poses.name.removesuffix(SUFFIX)


def output_beside(poses: Path, added: str, output: Path | None) -> Path:
    """Where to write a new file of poses: `output`, else beside the input with something added to its name.

    Raises ConfigError for a name that does not end like a file of poses.
    """
    path = output or poses.with_name(f"{stem_of(poses)}_{added}{SUFFIX}")
    check_ending(path, SUFFIX)
    return path


def check_ending(output: Path, ending: str, option: str = "--output") -> None:
    """Raises ConfigError for an output whose name does not end as its content wants."""
    if not output.name.lower().endswith(ending):
        raise ConfigError(f"{option}: expected a name that ends in {ending}, got {output.name!r}.")


def check_new(output: Path, inputs: Sequence[Path | None], option: str = "--output") -> None:
    """Raises ConfigError when an output would take the place of an input, DataError when it cannot be written.

    None is an input that is not given.
    """
    for path in inputs:
        if path is not None and output.exists() and path.exists() and output.samefile(path):
            raise ConfigError(f"{option}: expected a new file, got {path}, which is read. Name another.")
    check_writable(output.parent, option)


def with_step(provenance: Provenance, step: str, settings: Mapping[str, Any], source: Path) -> Provenance:
    """The provenance of poses after one more step: what was done, how, and to which file."""
    before = provenance.settings.get(HISTORY)  # of a file, where it may be anything
    done = [
        *(before if isinstance(before, list) else []),
        {"step": step, "settings": dict(settings), "of": source.name},
    ]
    return replace(provenance, settings={**provenance.settings, HISTORY: done})


def video_of(tracks: PoseTracks, given: Path | None, poses: Path | None = None) -> Path:
    """The video that poses are of: the one that is given, else where it was when they were predicted, or beside them.

    poses: their file. Raises ConfigError where the video is not there any more, DataError where it is another one, and for
    poses of a camera, or imported without their video.
    """
    from dlcpose.datasets.video import fingerprint

    if not tracks.video.fingerprint:
        raise DataError(
            f"{poses or tracks.video.path}: expected poses of a video file, got those of {tracks.video.path}, a camera or "
            "stream, or imported without their video. Record a video and predict that, or import them anew with `--video`."
        )
    path = given or Path(tracks.video.path)
    if given is None and not path.is_file() and poses is not None and path.name:
        path = poses.with_name(path.name)
    if given is None and not path.is_file():
        raise ConfigError(
            f"--video: the video {tracks.video.path} is not there any more. Say where it is with --video."
        )
    if (found := fingerprint(path)) != tracks.video.fingerprint:
        raise DataError(
            f"{path}: expected the video that the poses are of ({Path(tracks.video.path).name}, fingerprint "
            f"{tracks.video.fingerprint}), got another one ({found}). Give the file that was predicted with --video."
        )
    return path
