"""Poses of a video as one HDF5 file (`NAME.poses.h5`): the arrays of PoseTracks, and their provenance.

The file holds one plain, contiguous, uncompressed array for each field of PoseTracks and a text in JSON for all the
rest, so that h5py, MATLAB or R read it without dlcpose, and an untrusted file can be checked before any memory is
taken.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from dlcpose.datasets.hdf5_kinds import top_level
from dlcpose.structures.atomic_files import atomic_output
from dlcpose.structures.checked_arrays import check_places
from dlcpose.structures.checked_values import is_number
from dlcpose.structures.data_description import check_texts
from dlcpose.structures.data_files import parse_json, shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.home_folder import expand_home
from dlcpose.structures.kept_errors import KeptErrors
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.structures.skeleton import Skeleton

SUFFIX = ".poses.h5"
FORMAT = "dlcpose.poses.1"
DESCRIPTION = "description"  # JSON in UTF-8, as bytes
MAX_BYTES = 2**36  # of all arrays of a file that is read, unless more is allowed
MAX_DESCRIPTION = 2**24
MAX_SIDE = 2**20  # px of a frame
TYPES: dict[str, tuple[type, tuple[str, ...]]] = {
    "frame_indices": (np.int64, ("T",)),
    "times": (np.float64, ("T",)),
    "keypoints_in_image": (np.float32, ("T", "N", "K", "2")),
    "keypoint_scores": (np.float32, ("T", "N", "K")),
    "scores": (np.float32, ("T", "N")),
    "boxes_in_image": (np.float32, ("T", "N", "4")),
    "identities": (np.int64, ("T", "N")),
    "unique_in_image": (np.float32, ("T", "U", "2")),
    "unique_scores": (np.float32, ("T", "U")),
}
OPTIONAL: dict[str, tuple[type, tuple[str, ...]]] = {"keypoint_spreads": (np.float32, ("T", "N", "K"))}


@dataclass(frozen=True)
class Provenance:
    """Provenance of poses: model, settings and versions.

    checkpoint: its path. checkpoint_hash: SHA-256 of the file. individuals: names of the animals that the model knows.
    settings: those that poses depend on, crop and precision among them, as plain values. versions: of the packages that
    decide what a model computes. seconds: by stage. missing_frames: [first, last] of each stretch that could not be
    decoded. problem: what was wrong with the video, in one line.
    """

    checkpoint: str = ""
    checkpoint_hash: str = ""
    individuals: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    missing_frames: tuple[tuple[int, int], ...] = ()
    problem: str | None = None


class PoseWriter:
    """Writes results stretch by stretch into an open file; made by `pose_writer`.

    check_disk: raises OSError where what was written has not reached the disk.
    """

    def __init__(
        self,
        file: Any,
        frames: int,
        skeleton: Skeleton,
        individuals: tuple[str, ...],
        *,
        check_disk: Callable[[], None],
    ) -> None:
        self._file, self._at, self._frames, self._check_disk = file, 0, frames, check_disk
        sizes = {
            "T": frames,
            "N": len(individuals),
            "K": len(skeleton.names),
            "U": len(skeleton.unique),
            "2": 2,
            "4": 4,
        }
        for name, (dtype, letters) in TYPES.items():
            file.create_dataset(name, tuple(sizes[letter] for letter in letters), dtype)
        self._skeleton, self._individuals = skeleton, individuals
        self._last = -1  # frame number

    def append(self, tracks: PoseTracks) -> None:
        """Write the next frames: tracks with the columns of the file."""
        if (tracks.skeleton, tracks.individuals) != (self._skeleton, self._individuals):
            raise ValueError(f"expected animals {self._individuals}, got {tracks.individuals}")
        if not (np.diff(tracks.frame_indices, prepend=self._last) > 0).all():
            raise ValueError(f"expected rising frame numbers above {self._last}, got {tracks.frame_indices}")
        self._last = int(tracks.frame_indices[-1]) if len(tracks) else self._last
        end = self._at + len(tracks)
        for name in TYPES:
            self._file[name][self._at : end] = getattr(tracks, name)
        self._at = end
        self._check_disk()

    def add_optional(self, tracks: PoseTracks) -> None:
        """Write the optional arrays that the tracks have, for all frames."""
        for name, (dtype, _) in OPTIONAL.items():
            if (values := getattr(tracks, name)) is not None:
                self._file.create_dataset(name, data=np.asarray(values, dtype))

    def finish(self, video: VideoInfo, provenance: Provenance, *, is_tracked: bool) -> None:
        """Write the metadata beside the arrays. Raises ValueError where frames are missing."""
        if self._at != self._frames:
            raise ValueError(f"expected {self._frames} frames, got {self._at}")
        description = {
            "format": FORMAT,
            "skeleton": self._skeleton.as_dict(),
            "video": {**asdict(video), "fps": None if np.isnan(video.fps) else video.fps},
            "individuals": list(self._individuals),
            "is_tracked": is_tracked,
            "provenance": asdict(provenance),
        }
        text = json.dumps(description, indent=1, allow_nan=False).encode()
        self._file.create_dataset(DESCRIPTION, data=np.frombuffer(text, np.uint8))


@contextmanager
def pose_writer(
    path: Path | str, frames: int, skeleton: Skeleton, individuals: tuple[str, ...]
) -> Iterator[PoseWriter]:
    """A writer for a file of `frames` rows, which takes its name once it is whole.

    Raises DataError where it cannot be written; what was there before stays.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise DataError(f"{path}: cannot be written (no such folder). Make the folder {path.parent}, or name another.")
    with atomic_output(path) as partial, KeptErrors(partial) as disk:
        with h5py.File(disk, "w") as file:
            yield PoseWriter(file, frames, skeleton, individuals, check_disk=disk.check)
        disk.check()


def write_pose_tracks(path: Path | str, tracks: PoseTracks, provenance: Provenance | None = None) -> None:
    """Write the poses of a video and their provenance. Raises DataError where that cannot be written."""
    with pose_writer(path, len(tracks), tracks.skeleton, tracks.individuals) as writer:
        writer.append(tracks)
        writer.add_optional(tracks)
        writer.finish(tracks.video, provenance or Provenance(), is_tracked=tracks.is_tracked)


def read_pose_tracks(path: Path | str, *, max_bytes: int = MAX_BYTES) -> PoseTracks:
    """The poses of a `.poses.h5` file.

    Raises DataError for what is no such file, holds anything but plain arrays of the sizes that it describes, more than
    max_bytes of them, or values that no prediction has. Nothing in a file can make other files be read or code be run.
    """
    path = expand_home(path)
    with _opened(path) as file:
        description = _description(file, path)
        names = [*TYPES, *(name for name in OPTIONAL if name in file)]
        arrays = {name: _checked(file, path, name, max_bytes) for name in names}
        if sum(array.nbytes for array in arrays.values()) > max_bytes:
            raise DataError(f"{path}: its arrays hold more than {max_bytes} bytes. Allow more with max_bytes=.")
        values = {name: array[()] for name, array in arrays.items()}
    try:
        names = description["skeleton"]
        individuals = description["individuals"]
        check_texts({"names": names["names"], "unique": names["unique"], "individuals": individuals})
        if len(set(individuals)) < len(individuals):  # tables would have columns of one name
            raise ValueError(f"individuals {shown(individuals)}, of which one is there twice")
        if not isinstance(is_tracked := description["is_tracked"], bool):  # "no" would be taken for yes
            raise TypeError(f"is_tracked {shown(is_tracked)}, which is neither true nor false")
        tracks = PoseTracks(
            skeleton=Skeleton.from_dict(names),
            video=_video(description["video"]),
            individuals=tuple(individuals),
            is_tracked=is_tracked,
            **values,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _no_poses(path, f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    _check_values(tracks, path)
    check_rows(tracks, path, max_bytes)
    return tracks


def _video(content: Any) -> VideoInfo:
    """The video that a file describes. Raises ValueError for values that no video has."""
    video = VideoInfo(**content)
    numbers = (video.height, video.width, video.frames)
    if any(type(number) is not int or number < 0 for number in numbers) or max(numbers[:2]) > MAX_SIDE:
        raise ValueError(f"a video of {shown(numbers)}")
    if not (isinstance(video.path, str) and isinstance(video.fingerprint, str)):
        raise TypeError(f"a video of path {shown(video.path)} and fingerprint {shown(video.fingerprint)}")
    if video.fps is not None and not (is_number(video.fps) and video.fps >= 0):
        raise ValueError(f"a video of {video.fps!r:.40} frames per second")
    if "\0" in video.path:
        raise ValueError("a video whose path has a null character")
    video.path.encode(errors="surrogateescape")  # or no system has such a name
    fps = np.nan if video.fps is None else float(video.fps)
    return replace(video, fps=fps)


def read_provenance(path: Path | str) -> tuple[str, Provenance]:
    """The video of a `.poses.h5` file, and the provenance of its poses.

    Raises DataError for what is no such file.
    """
    path = expand_home(path)
    with _opened(path) as file:
        description = _description(file, path)
    try:
        content = description["provenance"]
        missing = tuple((int(first), int(last)) for first, last in content["missing_frames"])
        individuals = content.get("individuals", ())  # files of before have none
        check_texts({"individuals": individuals})
        provenance = Provenance(**{**content, "missing_frames": missing, "individuals": tuple(individuals)})
        if not all(isinstance(each, dict) for each in (provenance.settings, provenance.versions, provenance.seconds)):
            raise TypeError("settings, versions and seconds are mappings")
        texts = (provenance.checkpoint, provenance.checkpoint_hash, provenance.problem or "")
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("checkpoint, its hash and problem are texts")
        return str(description["video"]["fingerprint"]), provenance
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _no_poses(path, f"{type(error).__name__}: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise DataError(f"{path}: expected a file of poses ({SUFFIX}), got nothing at this path. Correct the path.")
    if not h5py.is_hdf5(path):
        raise _no_poses(path, f"it is no HDF5 file ({path.suffix or 'no ending'}, {path.stat().st_size} bytes)")
    try:
        with h5py.File(path, "r") as file:
            if not path.name.endswith(SUFFIX) and DESCRIPTION not in file:
                _refuse_foreign(file, path)
            yield file
    except DataError:
        raise
    except Exception as error:  # h5py tells of damage in any way
        raise _no_poses(path, " ".join(str(error).split())[:200]) from error


def _refuse_foreign(file: Any, path: Path) -> None:
    """Raises DataError for a file of another program, with what it is."""
    top = top_level(file)
    if top.has_pandas:
        kind = "a table of pandas, as DeepLabCut writes them"
    elif top.is_sleap_project:
        kind = "a project of SLEAP (.slp)"
    elif top.is_sleap_analysis:
        kind = "an analysis file of SLEAP"
    elif top.is_movement:
        kind = "a dataset of movement"
    else:
        return
    raise DataError(
        f"{path}: expected poses of a video as dlcpose writes them (NAME{SUFFIX}), got {kind}. Import predictions of other "
        f"programs first: dlcpose import-poses {path.name}"
    )


def _description(file: Any, path: Path) -> dict[str, Any]:
    array = _checked(file, path, DESCRIPTION, MAX_DESCRIPTION)
    try:
        content = parse_json(array[()].tobytes(), "its description", finite=True)
    except DataError as error:
        raise _no_poses(path, str(error).rstrip(".")) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _no_poses(path, f"not of the format {FORMAT}")
    return content


def _checked(file: Any, path: Path, name: str, max_bytes: int) -> Any:
    """A plain array of the file, before it is read."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise _no_poses(path, f"no array {name} of its own")
    array = file[name]
    if not isinstance(array, h5py.Dataset):
        raise _no_poses(path, f"{name} is no array")
    if array.is_virtual or array.external or array.chunks is not None or array.compression is not None:
        raise _no_poses(path, f"{name} is not stored plainly")
    dtype, letters = (np.uint8, ("bytes",)) if name == DESCRIPTION else {**TYPES, **OPTIONAL}[name]
    if array.dtype != np.dtype(dtype) or len(array.shape or ()) != len(letters):
        raise _no_poses(path, f"{name} is {array.dtype} {array.shape}")
    size = array.dtype.itemsize * int(np.prod([int(side) for side in array.shape], dtype=object))
    place = array.id.get_offset()
    if size > max_bytes or (size and (place is None or place + size > path.stat().st_size)):
        raise _no_poses(path, f"{name} says it holds {size} bytes, more than there are or are allowed ({max_bytes})")
    return array


def _check_values(tracks: PoseTracks, path: Path) -> None:
    """Raises DataError for values that no prediction has."""
    for name in ("keypoints_in_image", "boxes_in_image", "unique_in_image"):
        check_places(getattr(tracks, name), f"{path}: {name}")
    for name in ("times", *OPTIONAL):
        if (values := getattr(tracks, name)) is not None and np.isinf(values).any():
            raise _no_poses(path, f"{name} is infinite somewhere")
    for name in ("keypoint_scores", "scores", "unique_scores"):
        scores: npt.NDArray[np.float32] = getattr(tracks, name)
        if not ((scores >= 0) & (scores <= 1)).all():  # NaN is not
            raise _no_poses(path, f"{name} is outside [0, 1] somewhere")
    if tracks.keypoint_spreads is not None and (tracks.keypoint_spreads < 0).any():
        raise _no_poses(path, "keypoint_spreads is below 0 somewhere")
    if len(tracks) and tracks.frame_indices[0] < 0:
        raise _no_poses(path, "a frame has a number below 0")
    if (tracks.identities < -1).any():
        raise _no_poses(path, "an identity is below -1")


def check_rows(tracks: PoseTracks, path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Raises DataError where a row for each frame of the video, as tables have, would take more than max_bytes."""
    if tracks.video_frames * row_bytes(tracks) > max_bytes:
        raise _no_poses(
            path, f"poses in all of its {tracks.video_frames} frames would hold more than {max_bytes} bytes"
        )


def row_bytes(tracks: PoseTracks) -> int:
    """The bytes of all arrays for one frame."""
    names = [*TYPES, *(name for name in OPTIONAL if getattr(tracks, name) is not None)]
    shapes = {name: getattr(tracks, name).shape[1:] for name in names}
    return sum(np.dtype({**TYPES, **OPTIONAL}[name][0]).itemsize * int(np.prod(shapes[name])) for name in names)


def _no_poses(path: Path, reason: str) -> DataError:
    fix = (
        "Predict the video anew."
        if path.name.endswith(SUFFIX)
        else f"Give the file NAME{SUFFIX} that was written for it."
    )
    return DataError(f"{path}: expected poses of a video as dlcpose writes them, but {reason}. {fix}")
