"""Tables of the poses of a video, in any of the field's formats or as a given reader takes them."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dlcpose.exporters.formats import DEFAULT_SCORER, TableFormat, TableTarget, digests_in, table_formats
from dlcpose.exporters.pose_file import row_bytes
from dlcpose.exporters.readers import TableReader, table_readers
from dlcpose.structures.atomic_files import move_into, staged_files
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import as_utf8
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.home_folder import expand_home
from dlcpose.structures.pose_tracks import PoseTracks

logger = logging.getLogger(__name__)

Existing = Literal["refuse", "keep", "replace"]
SMALL_TABLE = 2**29  # bytes of poses: a day of 30 frames/s of an animal of 12 keypoints
MOST_ROWS = 100  # for each frame that is predicted, in larger ones
ROUNDING = 1e-4  # a score may lie so far outside [0, 1], it is clipped


def write_tables(
    tracks: PoseTracks,
    folder: str | Path,
    stem: str | None = None,
    *,
    formats: Iterable[str] = (),
    readers: Iterable[str] = (),
    scorer: str = DEFAULT_SCORER,
    existing: Existing = "refuse",
) -> list[Path]:
    """Write tables of a video's poses and return their paths, in the order of the formats and readers.

    formats: names from `table_formats()`, written to `folder`. readers: names from `table_readers()`; each gets what it
    takes in a folder of its own, `folder/{reader}`. stem: start of the files' names, the video's unless given. scorer:
    goes into DeepLabCut's tables and the names of their files. Row i is frame i in every table, also where frames were
    skipped. Predictions that a format has no place for are logged. existing: what becomes of a file that has a table's name:
    "refuse", "replace", or "keep" where it is a table of these very poses, else refuse. Raises ConfigError for an unknown
    name, a missing package, or a stem or scorer that is no part of a file's name, DataError for poses that cannot be held or
    a file that is refused; nothing is written then.
    """
    folder = expand_home(folder)
    for kind, part in (("name", stem), ("scorer", scorer)):
        if part is not None and (part in ("", ".", "..") or any(each in part for each in "/\0" + os.sep)):
            raise ConfigError(f"{kind}: expected a part of a file's name, without a folder, got {part!r}. Correct it.")
    chosen, for_readers = _chosen(formats, readers)
    whole = whole_poses(tracks)
    target = TableTarget(folder, stem or Path(tracks.video.path).stem, scorer)
    whole = replace(whole, video=replace(whole.video, path=as_utf8(whole.video.path)))  # which tables hold as a text
    for each in chosen:
        each.check(whole)
    for reader in for_readers:
        reader.check(whole, target)
    with staged_files(folder) as staging:
        staged = replace(target, folder=staging)
        fresh = []
        for each in chosen:
            _tell_left_out(each.name, each.leaves_out, whole)
            fresh += each.write(whole, staged)
        for reader in for_readers:
            fresh += _write_for(reader, whole, staged)
        places = {path: folder / path.relative_to(staging) for path in fresh}
        for path in [] if existing == "replace" else _in_the_way(places, existing):
            raise DataError(
                f"{path}: is there already, no table of {Path(tracks.video.path).name} is written. "
                "`dlcpose tables --overwrite` replaces it, --output or --name writes elsewhere."
            )
        for path, place in places.items():
            if existing == "replace" or not place.exists():
                move_into(place, path)
    return list(places.values())


def check_scorer(formats: Iterable[str], readers: Iterable[str]) -> None:
    """Raise ConfigError where none of these tables has a place for the name of the predictor."""
    chosen, for_readers = _chosen(formats, readers)
    named = [each.name for each in chosen] + [name for reader in for_readers for name in reader.formats]
    if not any(table_formats()[name].names_scorer for name in named):
        with_place = ", ".join(each.name for each in table_formats().values() if each.names_scorer)
        raise ConfigError(f"--scorer: {', '.join(named)} has no place for it. Leave it out; {with_place} have.")


def check_before_prediction(formats: Iterable[str], readers: Iterable[str], *, are_tracked: bool) -> None:
    """Raise ConfigError for what `write_tables` would refuse whatever is predicted.

    That is an unknown name, a missing package, and what takes tracks, where the poses will be of several animals that
    are not tracked.
    """
    chosen, for_readers = _chosen(formats, readers)
    of_readers = [table_formats()[name] for reader in for_readers for name in reader.formats]
    for each in (*chosen, *of_readers):
        each.check_packages()
    takers: list[TableFormat | TableReader] = [*chosen, *of_readers, *for_readers]
    for taker in takers:
        if taker.needs_tracks and not are_tracked:
            raise ConfigError(
                f"{taker.name}: it takes each column for one animal, but this model predicts several, untracked. Add --track."
            )


def whole_poses(tracks: PoseTracks) -> PoseTracks:
    """The poses as tables hold them: a row for every frame, missing keypoints NaN in x and y with score 0.

    Times of frames that were not decoded are interpolated between the frames around them. Raises DataError when there
    is no frame, or a score is not in [0, 1].
    """
    _check_rows(tracks)
    whole = tracks.gapless()
    if not len(whole):
        raise DataError(
            f"{tracks.video.path}: expected poses of at least one frame, got none. Predict the video first."
        )
    points, scores = _with_missing(whole, "keypoints_in_image", "keypoint_scores")
    unique, unique_scores = _with_missing(whole, "unique_in_image", "unique_scores")
    return replace(
        whole,
        times=_times(whole),
        keypoints_in_image=points,
        keypoint_scores=scores,
        unique_in_image=unique,
        unique_scores=unique_scores,
    )


def _check_rows(tracks: PoseTracks) -> None:
    """Raises DataError, before memory is taken, where nearly all rows would be of frames without a prediction.

    A file of a few kB may say that its video has any number of frames.
    """
    size, known = (row_bytes(tracks) * frames for frames in (tracks.video_frames, len(tracks)))
    if size > max(SMALL_TABLE, MOST_ROWS * known):
        raise DataError(
            f"{tracks.video.path}: tables have a row for each of its {tracks.video_frames} frames, but "
            f"{counted(len(tracks), 'frame is', 'frames are')} predicted, and nearly all of {size / 2**30:.1f} GB would be "
            "empty. Predict more of its frames, or read those that there are in the file of poses."
        )


def _with_missing(
    tracks: PoseTracks, points_name: str, scores_name: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    points, scores = getattr(tracks, points_name), getattr(tracks, scores_name)  # (..., 2), (...)
    is_missing = np.isnan(points).any(axis=-1)
    scores = np.where(is_missing, 0, scores)
    if not np.all((scores >= -ROUNDING) & (scores <= 1 + ROUNDING)):  # also where it is NaN
        wrong = scores[~((scores >= -ROUNDING) & (scores <= 1 + ROUNDING))][0]
        raise DataError(f"{tracks.video.path}: expected {scores_name} in [0, 1], got {wrong}. Predict the video again.")
    return (
        np.where(is_missing[..., None], np.nan, points).astype(np.float32),
        np.clip(scores, 0, 1).astype(np.float32),
    )


def _times(tracks: PoseTracks) -> npt.NDArray[np.float64]:
    """Seconds of every frame, (T,): those that are missing by the frames around them, or the frame rate; else NaN."""
    times, known = tracks.times, np.isfinite(tracks.times)
    frames = tracks.frame_indices.astype(np.float64)
    if known.all():
        return times
    step = 1 / tracks.video.fps if tracks.video.fps > 0 else np.nan
    if not known.any():
        return frames * step
    first, last = np.flatnonzero(known)[[0, -1]]
    if np.isnan(step) and last > first:
        step = (times[last] - times[first]) / (last - first)
    filled = np.interp(frames, frames[known], times[known])
    filled[:first] = times[first] - (first - frames[:first]) * step
    filled[last + 1 :] = times[last] + (frames[last + 1 :] - last) * step
    return np.asarray(filled, np.float64)


def _chosen(formats: Iterable[str], readers: Iterable[str]) -> tuple[list[TableFormat], list[TableReader]]:
    """The formats and readers of these names, each once. Raises ConfigError for an unknown one, or a text for a list."""
    for kind, names in (("formats", formats), ("readers", readers)):
        if isinstance(names, str):  # whose letters would be taken for names
            raise ConfigError(f"{kind}: expected a list of names, got one text: {kind}=[{names!r}].")
    return (
        [_named(name, table_formats(), "formats") for name in dict.fromkeys(formats)],
        [_named(name, table_readers(), "readers") for name in dict.fromkeys(readers)],
    )


def _named(name: str, known: Mapping[str, Any], kind: str) -> Any:
    if name not in known:
        raise ConfigError(f"{kind}: expected one of {', '.join(known)}, got {name!r}.")
    return known[name]


def _in_the_way(places: Mapping[Path, Path], existing: Existing) -> Iterable[Path]:
    """The files that must not be replaced by new tables: (new file: its place)."""
    for fresh, place in places.items():
        if place.exists() and not (existing == "keep" and _are_same(fresh, place)):
            yield place


def _are_same(fresh: Path, there: Path) -> bool:
    """Whether two tables are of the same poses: by their bytes, or their digests where they hold times of writing."""
    if not there.is_file():
        return False
    new, old = fresh.read_bytes(), there.read_bytes()
    return new == old or (bool(digests_in(new)) and digests_in(new) == digests_in(old))


def _write_for(reader: TableReader, tracks: PoseTracks, target: TableTarget) -> list[Path]:
    _tell_left_out(reader.name, reader.leaves_out, tracks)
    if reader.drops_unsure:
        _tell_interpolated(reader.name, tracks)
    return reader.write(reader.kept(tracks), replace(target, folder=target.folder / reader.name))


def _tell_interpolated(name: str, tracks: PoseTracks) -> None:
    """Log how many points have a place and the score 0, as `dlcpose filter --interpolate` fills them."""
    is_filled = ~np.isnan(tracks.keypoints_in_image[..., 0]) & (tracks.keypoint_scores == 0)  # (T, N, K)
    if is_filled.any():
        logger.warning(
            "%s: %s a place but the score 0, as interpolation fills them in: %s drops such as unsure. Give it "
            "poses that were filtered without --interpolate, or lower its threshold where it has one to set.",
            tracks.video.path,
            counted(int(is_filled.sum()), "keypoint has", "keypoints have"),
            name,
        )


def _tell_left_out(name: str, leaves_out: Sequence[str], tracks: PoseTracks) -> None:
    """Log which of these predictions the format has no place for: unique keypoints as a warning, by-products as info."""
    present = {
        "unique keypoints": bool((~np.isnan(tracks.unique_in_image)).any()),
        "boxes": bool((~np.isnan(tracks.boxes_in_image)).any()),
        "scores of the animals": bool((tracks.scores > 0).any()),
        "identities": bool((tracks.identities >= 0).any()),
        "times": bool(np.isfinite(tracks.times).any()),
    }
    lost = [what for what in dict.fromkeys(leaves_out) if present[what]]
    if lost:
        level = logging.WARNING if "unique keypoints" in lost else logging.INFO
        logger.log(level, "%s: %s has no place for %s, left out.", tracks.video.path, name, ", ".join(lost))
