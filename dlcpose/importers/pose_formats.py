"""The registry of formats that poses of other programs are read from: each registers itself with its reader."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.datasets.hdf5_kinds import top_level_of
from dlcpose.exporters.pose_file import DESCRIPTION, SUFFIX
from dlcpose.structures.checked_arrays import check_places
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import check_file, naming_file, shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.structures.registry import Registry, modules_in
from dlcpose.structures.skeleton import Skeleton, check_names

Numbers = npt.NDArray[Any]
MAX_BYTES = 2**34  # of the arrays of poses that are imported
MAX_FILE = 2**36
PICKLES = (".pickle", ".pkl")
PICKLE_MARK = b"\x80"  # the first byte of one, of protocol 2 and later


@dataclass(frozen=True)
class ForeignPoses:
    """The poses of one video as another program's file has them: T frames, N animals, K keypoints, U unique keypoints.

    program, scorer: what predicted them. video: the name of the video's file, or its path, as the file tells it; without
    an ending where the file does not tell that. frames: (T,) numbers of frames, rising. points: (T, N, K, 2) pixels, NaN
    where missing; scores: (T, N, K); animal_scores: (T, N), None where the program has none. unique: (T, U, 2);
    unique_scores: (T, U). size: (height, width) of a frame, None where the file does not tell. is_cropped: whether
    coordinates count from a corner of a part of the frame. notes: what was left out or changed, a line each.
    """

    program: str
    scorer: str
    video: str
    skeleton: Skeleton
    individuals: tuple[str, ...]
    is_tracked: bool
    frames: npt.NDArray[np.int64]
    points: Numbers
    scores: Numbers
    animal_scores: Numbers | None = None
    unique: Numbers | None = None
    unique_scores: Numbers | None = None
    size: tuple[int, int] | None = None
    is_cropped: bool = False
    notes: tuple[str, ...] = ()


# Poses of each video in a file. The second argument is whether columns are animals in every frame; None lets the file tell.
Read = Callable[[Path, bool | None], Sequence[ForeignPoses]]


@dataclass
class PoseFormat:
    """A format and its reader. opens: what it is, for errors. can_read: whether a file, which exists, looks like one."""

    name: str
    opens: str
    can_read: Callable[[Path], bool]
    read: Read

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.read)  # type: ignore[arg-type]  # it stands for the reader in the registry


# Modules of this package with this ending are formats.
POSE_FORMATS: Registry[PoseFormat] = Registry(
    "dlcpose.pose_formats", tuple(name for name in modules_in("dlcpose.importers") if name.endswith("_poses"))
)


def pose_format(name: str, *, opens: str, can_read: Callable[[Path], bool]) -> Callable[[Read], Read]:
    """A decorator that registers a reader as a format. Raises ConfigError where another has the name."""

    def registered(read: Read) -> Read:
        POSE_FORMATS.register(name)(PoseFormat(name, opens, can_read, read))
        return read

    return registered


def read_foreign_poses(path: Path, *, is_tracked: bool | None = None) -> Sequence[ForeignPoses]:
    """The poses in a file of another program, one entry for each video in it.

    is_tracked: whether a column is the same animal in every frame; None lets the file tell. Raises DataError for a file of
    no format that is known, a pickle, and one that is damaged or cannot be read safely.
    """
    check_file(path, max_bytes=MAX_FILE)
    _refuse_pickle(path)
    formats = POSE_FORMATS.load()
    found = next((each for each in formats.values() if each.can_read(path)), None)
    if found is None:
        names = top_level_of(path).names
        if DESCRIPTION in names:
            raise DataError(
                f"{path}: it is a file of poses of dlcpose ({SUFFIX}) already. Give it to the other commands."
            )
        got = f"an HDF5 file with {shown(sorted(names))}" if names else "something else"
        raise DataError(
            f"{path}: expected poses of one of these kinds: {'; '.join(each.opens for each in formats.values())}; got {got}."
        )
    with naming_file(path):
        poses = found.read(path, is_tracked)
    if not poses:
        raise DataError(f"{path}: expected predicted poses, got none.")
    return poses


def _refuse_pickle(path: Path) -> None:
    with path.open("rb") as file:
        is_pickle = file.read(1) == PICKLE_MARK
    if is_pickle or path.suffix.lower() in PICKLES:
        raise DataError(
            f"{path}: it is a pickle, which can run any code when it is opened, and is not read. Give the .h5 or .csv of the "
            "same predictions: DeepLabCut writes it beside for one animal, and for several when tracklets are stitched."
        )


def pose_tracks(
    poses: ForeignPoses,
    source: Path,
    video: VideoInfo,
    times: npt.NDArray[np.float64],
    offset: tuple[float, float] = (0.0, 0.0),
) -> tuple[PoseTracks, tuple[str, ...]]:
    """The poses of another program in our terms, and notes on what was changed.

    source: their file, for errors. times: (T,) seconds of the frames, as of `times_of`. offset: x, y of the corner that
    coordinates count from, in pixels of the full frame. Scores are clipped to [0, 1]; an animal's score is the mean of its
    keypoints' where the program has none in that range. Raises DataError for names that no table can hold, or stand twice,
    and for places that no image has.
    """
    frames = len(poses.frames)
    with naming_file(source):
        check_names("individual", poses.individuals)
        if repeated := sorted({name for name in poses.individuals if poses.individuals.count(name) > 1}):
            raise ValueError(f"expected individuals of unlike names, got {shown(repeated)} more than once.")
    changed = _Clipped()
    points, scores = _clean(poses.points, poses.scores, offset, source, changed)
    given = np.zeros((frames, 0, 2)) if poses.unique is None else poses.unique
    given_scores = np.zeros((frames, 0)) if poses.unique_scores is None else poses.unique_scores
    unique, unique_scores = _clean(given, given_scores, offset, source, changed)
    of_animals, note = _animal_scores(poses.animal_scores, points, scores)
    with naming_file(source):
        tracks = PoseTracks(
            skeleton=poses.skeleton,
            video=video,
            individuals=poses.individuals,
            is_tracked=poses.is_tracked,
            frame_indices=poses.frames,
            times=times,
            keypoints_in_image=points,
            keypoint_scores=scores,
            scores=of_animals,
            boxes_in_image=np.full((frames, len(poses.individuals), 4), np.nan, np.float32),
            identities=np.full((frames, len(poses.individuals)), -1, np.int64),
            unique_in_image=unique,
            unique_scores=unique_scores,
        )
    return tracks, tuple(filter(None, [*poses.notes, *changed.notes(), note]))


@dataclass
class _Clipped:
    """Counts the scores that were changed."""

    above: int = 0
    below: int = 0
    absent: int = 0
    largest: float = 1.0

    def notes(self) -> list[str]:
        """A line on each kind."""
        return [
            *([f"{counted(self.above, 'score')} above 1 (up to {self.largest:.3g}), taken as 1"] if self.above else []),
            *([f"{counted(self.below, 'score')} below 0, taken as 0"] if self.below else []),
            *([f"{counted(self.absent, 'keypoint')} with a place but no score, taken as 0"] if self.absent else []),
        ]


def _clean(
    points: Numbers, scores: Numbers, offset: tuple[float, float], source: Path, changed: _Clipped
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Points (..., 2) in pixels of the full frame and scores (...) in [0, 1]: NaN and 0 where missing."""
    is_missing = np.asarray(np.isnan(points).any(axis=-1))
    placed = np.where(is_missing[..., None], np.nan, points + np.array(offset))
    check_places(placed, str(source))
    scores = np.where(is_missing, 0.0, scores)
    changed.above += int((scores > 1).sum())
    changed.below += int((scores < 0).sum())
    changed.absent += int(np.isnan(scores).sum())
    changed.largest = max(changed.largest, float(np.nanmax(scores, initial=0.0)))
    return placed.astype(np.float32), np.nan_to_num(scores).clip(0, 1).astype(np.float32)


def _animal_scores(
    given: Numbers | None, points: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], str]:
    """Scores of the animals (T, N), 0 where absent, and a note where those of the program could not be taken."""
    is_present = np.asarray(~np.isnan(points[..., 0]).all(axis=-1))
    means = np.where(is_present, scores.mean(axis=-1), 0).astype(np.float32)
    if given is None or not is_present.any():
        return means, ""
    own = given[is_present]
    with np.errstate(invalid="ignore"):
        is_score = bool(((own >= 0) & (own <= 1)).all())  # NaN is not
    if is_score:
        return np.where(is_present, given, 0).astype(np.float32), ""
    known = own[~np.isnan(own)]
    got = f"{known.min():.3g} to {known.max():.3g}" if len(known) else "none are there"
    return means, f"scores of the animals are not all in [0, 1] ({got}): the mean of the keypoints' is taken"


def times_of(frames: npt.NDArray[np.int64], times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The time of each of these frames (T,), NaN of those that the video does not have. times: (F,) of its frames."""
    known = frames < len(times)
    found = np.full(len(frames), np.nan)
    found[known] = times[frames[known]]
    return found


def with_edges(poses: ForeignPoses, skeleton: Skeleton, project: Path) -> ForeignPoses:
    """The poses with the edges of a project's skeleton. Raises DataError where it has other keypoints."""
    names = poses.skeleton.names
    if unknown := [name for name in names if name not in skeleton.names]:
        raise DataError(
            f"{project}: expected the project of these poses, with a keypoint {unknown[0]!r}, got {shown(skeleton.names)}."
        )
    edges = [(skeleton.names[first], skeleton.names[second]) for first, second in skeleton.edges]
    kept = tuple((names.index(first), names.index(second)) for first, second in edges if {first, second} <= {*names})
    return replace(poses, skeleton=replace(poses.skeleton, edges=kept))


def check_size(path: Path, frames: int, animals: int, keypoints: int) -> None:
    """Raises DataError, before memory is taken, for more poses than are imported."""
    if (size := frames * max(animals, 1) * keypoints * 24) > MAX_BYTES:  # three float64 a keypoint
        raise DataError(
            f"{path}: {counted(frames, 'frame')} with {counted(animals, 'animal')} of "
            f"{counted(keypoints, 'keypoint')} would take {size} bytes, more than "
            f"{MAX_BYTES}. Where these are many short tracks of few animals, add --untracked, and join them by dlcpose track."
        )
