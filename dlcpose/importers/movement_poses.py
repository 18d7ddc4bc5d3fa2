"""Poses datasets of movement, as netCDF (HDF5): arrays over time, space, keypoints and individuals."""

from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from dlcpose.datasets.hdf5_kinds import top_level_of
from dlcpose.datasets.plain_hdf5 import PlainHdf5, plain_hdf5
from dlcpose.importers.pose_formats import ForeignPoses, check_size, pose_format
from dlcpose.structures.errors import DataError
from dlcpose.structures.skeleton import Skeleton, pairs_from_names

NEAR = 0.25  # frames that a time may lie beside a multiple of the frames' duration
MAX_FRAMES = 2**31


def _can_read(path: Path) -> bool:
    return h5py.is_hdf5(path) and top_level_of(path).is_movement


@pose_format("movement", opens="a poses dataset of movement (.nc)", can_read=_can_read)
def read_movement(path: Path, is_tracked: bool | None) -> list[ForeignPoses]:
    """The poses of its video; frames are told by the time and the rate of frames. Individuals are the same throughout."""
    with plain_hdf5(path, "a poses dataset of movement") as file:
        names = tuple(_texts(file, "keypoints" if "keypoints" in file else "keypoint"))
        individuals = tuple(_texts(file, "individuals" if "individuals" in file else "individual"))
        if (space := _texts(file, "space")) != ["x", "y"]:
            raise DataError(f"{path}: expected poses in the pixels of a video (x, y), got {', '.join(space)[:80]}.")
        frames = _frames(file)
        check_size(path, len(frames), len(individuals), len(names))
        shape = (len(frames), 2, len(names), len(individuals))
        points = _array(file, "position", shape).transpose(0, 3, 2, 1)  # (T, N, K, 2)
        scores = _array(file, "confidence", (shape[0], *shape[2:])).transpose(0, 2, 1)
        software = str(_attribute(file, "/", "source_software", "unknown"))
        video = str(_attribute(file, "/", "dlcpose_video_path", path.stem))
    has_scores = not np.isnan(scores).all()
    return [
        ForeignPoses(
            program=f"movement, of {software[:80]}",
            scorer="",
            video=video,
            skeleton=Skeleton(names, pairs=pairs_from_names(names)),
            individuals=individuals,
            is_tracked=True if is_tracked is None else is_tracked,
            frames=frames,
            points=points,
            scores=scores if has_scores else np.ones(scores.shape),
            notes=() if has_scores else ("the file has no confidences: all keypoints with a place count as 1",),
        )
    ]


def _frames(file: PlainHdf5) -> npt.NDArray[np.int64]:
    """The number of each row's frame, by its time and the rate of frames: (T,).

    A table of dlcpose with a row for every frame has the times of presentation, which need not begin at 0 or be even.
    """
    times = np.asarray(file.array("time"), np.float64)
    if times.ndim != 1 or not len(times):
        raise DataError(f"{file.path}: expected times of at least one frame, got {times.shape}.")
    if int(_attribute(file, "/", "dlcpose_video_frames", -1)) == len(times):
        return np.arange(len(times), dtype=np.int64)
    unit = str(_attribute(file, "/", "time_unit", "frames"))
    rate = 1.0 if unit == "frames" else float(_attribute(file, "/", "fps", np.nan))
    exact = times * rate
    with np.errstate(invalid="ignore"):
        is_frame = (np.abs(exact - np.round(exact)) <= NEAR) & (exact > -NEAR) & (exact < MAX_FRAMES)
    if not is_frame.all() or (np.diff(np.round(exact)) <= 0).any():
        raise DataError(
            f"{file.path}: expected rising times at frames, got others in {unit[:20]} at {rate:g} frames per second. Save "
            "the dataset with the attributes time_unit and fps, or with frames as the time."
        )
    return np.round(exact).astype(np.int64)


def _array(file: PlainHdf5, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    array: npt.NDArray[Any] = file.array(name)
    if array.shape != shape or array.dtype.kind not in "iuf":
        raise DataError(f"{file.path}: expected numbers {name} of {shape}, got {array.dtype} {array.shape}.")
    if _attribute(file, name, "scale_factor", 1) != 1 or _attribute(file, name, "add_offset", 0) != 0:
        raise DataError(f"{file.path}: {name} is packed (scale_factor, add_offset). Save it as it is in movement.")
    return array.astype(np.float64)


def _attribute(file: PlainHdf5, owner: str, name: str, default: Any) -> Any:
    """An attribute, which netCDF keeps as an array of one number, or a text."""
    value = file.attribute(owner, name, default=default)
    return np.ravel(value)[0] if isinstance(value, np.ndarray) and value.size == 1 else value


def _texts(file: PlainHdf5, name: str) -> list[str]:
    values = np.atleast_1d(file.array(name)).ravel().tolist()
    return [each.decode("utf-8").rstrip("\0") if isinstance(each, bytes) else str(each) for each in values]
