"""The registry of tools that read poses: the format that each takes, the names of files, and what these must not contain."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dlcpose.exporters.deeplabcut_table import deeplabcut_frame, write_deeplabcut_h5
from dlcpose.exporters.formats import (
    TableTarget,
    check_individuals,
    check_tracked,
    table_formats,
)
from dlcpose.exporters.individual_files import individual_parts, one_individual, without_unique
from dlcpose.structures.atomic_files import atomic_output
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks

logger = logging.getLogger(__name__)

SIMBA_NETWORK = "DLC_resnet50_"  # SimBA finds a video by cutting the file's name off at these marks, of any network


@dataclass(frozen=True)
class TableReader:
    """A tool that reads poses, and the writer of the files that it takes.

    formats: that it is given. needs_tracks: whether it takes a column for one animal. keeps_unique: whether unique
    keypoints may stand beside the animals'. check_files: raises DataError for poses, or a name of the files, that it would
    misread, before anything is written. drops_unsure: whether it drops points of a low score whatever their place.
    """

    name: str
    write: Callable[[PoseTracks, TableTarget], list[Path]]
    formats: tuple[str, ...]
    needs_tracks: bool = True
    keeps_unique: bool = False
    check_files: Callable[[PoseTracks, TableTarget], None] | None = None
    drops_unsure: bool = False

    def check(self, tracks: PoseTracks, target: TableTarget) -> None:
        """Raise ConfigError where a package is missing, DataError where the reader would misread these poses."""
        kept = self.kept(tracks)
        for name in self.formats:
            table_formats()[name].check(kept)
        if self.needs_tracks:
            check_individuals(kept, self.name)
            check_tracked(kept, self.name)
        if self.check_files is not None:
            self.check_files(kept, target)

    def kept(self, tracks: PoseTracks) -> PoseTracks:
        """The poses that the reader is given."""
        return tracks if self.keeps_unique else without_unique(tracks)

    @property
    def leaves_out(self) -> tuple[str, ...]:
        """Names of the predictions that none of the files for it contains."""
        by_format = [set(table_formats()[name].leaves_out) for name in self.formats]
        lost = sorted(set.intersection(*by_format))
        return tuple(lost if self.keeps_unique else dict.fromkeys(["unique keypoints", *lost]))


def table_readers() -> Mapping[str, TableReader]:
    """All readers by name."""
    readers = (
        TableReader("anipose", _for_anipose, ("deeplabcut",), check_files=_check_parts, drops_unsure=True),
        TableReader("bsoid", _for_bsoid, ("deeplabcut_csv",), check_files=_check_parts, drops_unsure=True),
        TableReader("deeplabcut", _in("deeplabcut", "deeplabcut_csv"), ("deeplabcut", "deeplabcut_csv"), False, True),
        TableReader("moseq", _in("deeplabcut"), ("deeplabcut",), drops_unsure=True),
        TableReader("movement", _in("movement"), ("movement",)),
        TableReader("movement_0.17", _in("movement_0.17"), ("movement_0.17",)),
        TableReader("nwb", _in("nwb"), ("nwb",)),
        TableReader("simba", _for_simba, ("deeplabcut",), check_files=_check_name_for_simba),
        TableReader("sleap", _in("sleap"), ("sleap",), needs_tracks=False),
    )
    return {reader.name: reader for reader in readers}


def _in(*names: str) -> Callable[[PoseTracks, TableTarget], list[Path]]:
    """A writer of unchanged formats."""

    def write(tracks: PoseTracks, target: TableTarget) -> list[Path]:
        return [path for name in names for path in table_formats()[name].write(tracks, target)]

    return write


def _check_parts(tracks: PoseTracks, target: TableTarget) -> None:
    individual_parts(tracks)


def _check_name_for_simba(tracks: PoseTracks, target: TableTarget) -> None:
    marks = ("dlc_", "deepcut") if len(tracks.individuals) > 1 else ("dlc_", "deepcut", ".")
    if found := next((mark for mark in marks if mark in target.stem.lower()), None):
        raise DataError(
            f"{target.stem}: SimBA finds a video by cutting the table's name off, and would do so at {found!r} in the "
            "video's own name. Rename the video."
        )


def _for_simba(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}DLC_resnet50_{...}_el.h5` for several animals, `{video}DLC_....csv` for one.

    SimBA's importer of several animals takes files that end in el.h5, that of one takes csv.
    """
    name = f"{target.stem}{SIMBA_NETWORK}{target.scorer.removeprefix('DLC_')}"
    if len(tracks.individuals) > 1:
        path = target.folder / f"{name}_el.h5"
        write_deeplabcut_h5(path, tracks, target.scorer)
    else:
        path = target.folder / f"{name}.csv"
        with atomic_output(path) as partial:
            deeplabcut_frame(tracks, target.scorer).astype(np.float32).to_csv(partial)
    return [path]


def _for_bsoid(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write a DeepLabCut csv of one animal for each individual: `{video}[_{individual}]{scorer}.csv`."""
    written = []
    for place, part in enumerate(individual_parts(tracks)):
        own = replace(target, stem="_".join(filter(None, [target.stem, part])))
        alone = one_individual(tracks, place)
        (path,) = table_formats()["deeplabcut_csv"].write(alone, own)
        _tell_empty_start(alone, path)
        written.append(path)
    return written


def _tell_empty_start(alone: PoseTracks, path: Path) -> None:
    """Log the keypoints B-SOiD cannot fill: it repeats the place in the row before, and has none in row 0."""
    is_missing = np.isnan(alone.keypoints_in_image[:, 0, :, 0])  # (T, K)
    if not is_missing[0].any():
        return
    names = ", ".join(name for name, missing in zip(alone.skeleton.names, is_missing[0], strict=True) if missing)
    whole = np.flatnonzero(~is_missing.any(axis=1))  # rows
    advice = "There is no row with all keypoints to begin at: choose keypoints in B-SOiD that are found more often."
    if len(whole):
        deleted = "row 0" if whole[0] == 1 else f"rows 0 to {whole[0] - 1}"
        advice = (
            f"Delete {deleted} of it (row {whole[0]} is the first with all keypoints) and cut as many frames off the video's "
            "start."
        )
    logger.warning(
        "%s: bsoid fills a missing keypoint from the row before, and row 0 has none: %s stays empty from there until it is "
        "found. %s",
        path.name,
        names,
        advice,
    )


def _for_anipose(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `[{individual}/]{video}.h5`, as Anipose finds it in a session's `pose-2d`: one session for each animal."""
    written = []
    for place, part in enumerate(individual_parts(tracks)):
        path = target.folder / part / f"{target.stem}.h5"
        write_deeplabcut_h5(path, one_individual(tracks, place), target.scorer)
        written.append(path)
    return written
