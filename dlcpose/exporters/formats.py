"""The registry of table formats: each registers itself with the function that writes it, and states what it leaves out."""

import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.registry import Registry, modules_in

DEFAULT_SCORER = "DLC_dlcpose"  # readers of DeepLabCut's files cut the video's name off at "DLC_"


@dataclass(frozen=True)
class TableTarget:
    """Where the tables of one video go. stem: the video's file name without its ending. scorer: name of the predictor."""

    folder: Path
    stem: str
    scorer: str = DEFAULT_SCORER

    def path(self, ending: str) -> Path:
        """The file of this video that ends so."""
        return self.folder / f"{self.stem}{ending}"


Writer = Callable[[PoseTracks, TableTarget], list[Path]]
Check = Callable[[PoseTracks], None]


@dataclass
class TableFormat:
    """A format and its writer, which takes poses with a row for every frame and returns the files it wrote.

    suffix: of its main file. needs: packages to import, which the extra installs. needs_tracks: whether a column has to
    be the same animal in every frame. leaves_out: what the format has no place for. check_poses: raises DataError for poses
    that it cannot hold, before anything is written. names_scorer: whether it has a place for the name of the predictor.
    """

    name: str
    suffix: str
    write: Writer
    needs: tuple[str, ...] = ()
    extra: str = ""
    needs_tracks: bool = False
    leaves_out: tuple[str, ...] = ()
    check_poses: Check | None = None
    names_scorer: bool = True

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.write)  # type: ignore[arg-type]  # it stands for the writer in the registry

    def check(self, tracks: PoseTracks) -> None:
        """Raise ConfigError where a package is missing, DataError where the format cannot hold these poses."""
        self.check_packages()
        if self.needs_tracks:
            check_tracked(tracks, self.name)
        if self.check_poses is not None:
            self.check_poses(tracks)

    def check_packages(self) -> None:
        """Raise ConfigError where a package is missing."""
        missing = [package for package in self.needs if importlib.util.find_spec(package) is None]
        if missing:
            raise ConfigError(
                f"{self.name}: writing it needs {' and '.join(missing)}, not installed here. "
                f"Install dlcpose[{self.extra}]."
            )


# Modules of this package with this ending are formats.
TABLE_FORMATS: Registry[TableFormat] = Registry(
    "dlcpose.table_formats", tuple(name for name in modules_in("dlcpose.exporters") if name.endswith("_table"))
)


def table_format(
    name: str,
    *,
    suffix: str,
    needs: tuple[str, ...] = (),
    extra: str = "",
    needs_tracks: bool = False,
    leaves_out: tuple[str, ...] = (),
    check_poses: Check | None = None,
    names_scorer: bool = True,
) -> Callable[[Writer], Writer]:
    """A decorator that registers a writer as a format. Raises ConfigError where another has the name."""

    def registered(write: Writer) -> Writer:
        made = TableFormat(name, suffix, write, needs, extra, needs_tracks, leaves_out, check_poses, names_scorer)
        TABLE_FORMATS.register(name)(made)
        return write

    return registered


def table_formats() -> Mapping[str, TableFormat]:
    """All formats by name, in alphabetical order: of this package and of plugins."""
    return dict(sorted(TABLE_FORMATS.load().items()))


def check_tracked(tracks: PoseTracks, reader: str) -> None:
    """Raise DataError where several animals are untracked: a reader that needs tracks would mix them up in silence."""
    if not tracks.is_tracked and len(tracks.individuals) > 1:
        raise DataError(
            f"{tracks.video.path}: {reader} takes each column for one animal, but these {len(tracks.individuals)} "
            "columns are not tracked. Run `dlcpose track` first."
        )


def check_individuals(tracks: PoseTracks, reader: str) -> None:
    """Raise DataError where there is no animal to write."""
    if not tracks.individuals:
        raise DataError(f"{tracks.video.path}: {reader} needs at least one individual, got unique keypoints only.")


def provenance(tracks: PoseTracks) -> dict[str, Any]:
    """Where the poses come from, as plain values: the version of dlcpose, the video, and a digest of the poses."""
    video = tracks.video
    return {
        "software": "dlcpose",
        "version": version("dlcpose"),
        "video_path": video.path,
        "video_fingerprint": video.fingerprint,
        "video_frames": video.frames,
        "video_fps": None if video.fps != video.fps else video.fps,
        "video_height": video.height,
        "video_width": video.width,
        "is_tracked": tracks.is_tracked,
        "poses_digest": poses_digest(tracks),
    }


def poses_digest(tracks: PoseTracks) -> str:
    """A digest of poses and their names, the same for the same poses."""
    digest = hashlib.sha256(json.dumps([tracks.skeleton.as_dict(), tracks.individuals, tracks.is_tracked]).encode())
    for each in fields(tracks):
        if isinstance(array := getattr(tracks, each.name), np.ndarray):
            digest.update(each.name.encode() + np.ascontiguousarray(array).tobytes())
    return f"poses-{digest.hexdigest()[:32]}"


def digests_in(content: bytes) -> set[bytes]:
    """The digests of poses that a table of any format holds as text; none of a table without a place for them."""
    return set(re.findall(rb"poses-[0-9a-f]{32}", content))
