"""Predictions of SLEAP as an analysis file (.analysis.h5): arrays over tracks, keypoints and frames."""

from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from dlcpose.datasets.hdf5_kinds import top_level_of
from dlcpose.datasets.plain_hdf5 import PlainHdf5, plain_hdf5
from dlcpose.importers.pose_formats import ForeignPoses, check_size, pose_format
from dlcpose.structures.data_files import parse_json, shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import column_names
from dlcpose.structures.skeleton import Skeleton, pairs_from_names

AXES = ("frame", "track", "node", "xy")
OF_SLEAP = ("track", "xy", "node", "frame")  # in a file that does not say it


def _can_read(path: Path) -> bool:
    return h5py.is_hdf5(path) and top_level_of(path).is_sleap_analysis


@pose_format("sleap_analysis", opens="an analysis file of SLEAP (.analysis.h5)", can_read=_can_read)
def read_sleap_analysis(path: Path, is_tracked: bool | None) -> list[ForeignPoses]:
    """The poses of its video: row i is frame i. Without names of tracks, columns stand in the order of a frame."""
    with plain_hdf5(path, "an analysis file of SLEAP") as file:
        dims = _dims(file)
        nodes, tracks = _texts(file, "node_names"), _texts(file, "track_names")
        shape = file.dataset("tracks").shape
        sizes = dict(zip(dims, shape, strict=False))
        if len(shape) != len(AXES) or sizes["xy"] != 2 or sizes["node"] != len(nodes):
            raise DataError(f"{path}: expected tracks of {dims} with {len(nodes)} keypoints and x, y, got {shape}.")
        check_size(path, sizes["frame"], sizes["track"], sizes["node"])
        points = _ordered(file.array("tracks"), dims, AXES)  # (T, N, K, 2)
        has_scores = "point_scores" in file
        scores = _array(file, "point_scores", dims, points.shape[:3]) if has_scores else np.ones(points.shape[:3])
        of_animals = _array(file, "instance_scores", dims, points.shape[:2]) if "instance_scores" in file else None
        if tracks and len(tracks) != sizes["track"]:
            raise DataError(f"{path}: expected a name for each of {sizes['track']} tracks, got {len(tracks)}.")
        video = next(iter(_texts(file, "video_path")), "") if "video_path" in file else ""
        skeleton = _skeleton(file, nodes)
    names = tuple(tracks) or column_names(sizes["track"], ())
    return [
        ForeignPoses(
            program="SLEAP",
            scorer="",
            video=video.replace("\\", "/"),
            skeleton=skeleton,
            individuals=names,
            is_tracked=(bool(tracks) or len(names) == 1) if is_tracked is None else is_tracked,
            frames=np.arange(sizes["frame"], dtype=np.int64),
            points=points,
            scores=scores,
            animal_scores=of_animals,
            notes=() if has_scores else ("the file has no scores of keypoints: all count as 1",),
        )
    ]


def _dims(file: PlainHdf5) -> tuple[str, ...]:
    """The axes of `tracks`: as the file says, else as SLEAP itself has them."""
    stated = file.text("tracks", "dims", default="")
    dims = parse_json(stated.encode(), f"{file.path}: dims of tracks") if stated else list(OF_SLEAP)
    if not isinstance(dims, list) or sorted(map(str, dims)) != sorted(AXES):
        raise DataError(f"{file.path}: expected tracks over {', '.join(AXES)}, got {shown(dims)}.")
    return tuple(dims)


def _ordered(array: npt.NDArray[Any], dims: tuple[str, ...], order: tuple[str, ...]) -> npt.NDArray[np.float64]:
    return array.astype(np.float64).transpose([dims.index(axis) for axis in order])


def _array(file: PlainHdf5, name: str, dims: tuple[str, ...], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """An array over frames, tracks (and keypoints), whose axes have the order of `tracks` in the file."""
    axes = AXES[: len(shape)]
    own = tuple(axis for axis in dims if axis in axes)
    array: npt.NDArray[Any] = file.array(name)
    if array.ndim != len(own):
        raise DataError(f"{file.path}: expected {name} over {', '.join(own)}, got an array of {array.ndim} axes.")
    ordered = _ordered(array, own, axes)
    if ordered.shape != shape:
        raise DataError(f"{file.path}: expected {name} of {shape} {axes}, got {ordered.shape}.")
    return ordered


def _texts(file: PlainHdf5, name: str) -> list[str]:
    """The texts of an array of them, or of one; none where there are no bytes in it, as SLEAP writes an empty list."""
    values = np.atleast_1d(file.array(name)).ravel().tolist()
    return [each.decode("utf-8") if isinstance(each, bytes) else str(each) for each in values]


def _skeleton(file: PlainHdf5, nodes: list[str]) -> Skeleton:
    edges: list[tuple[int, int]] = []
    if "edge_inds" in file and (indices := file.array("edge_inds")).size:
        edges = [(int(first), int(second)) for first, second in indices.reshape(-1, 2).tolist()]
    return Skeleton(tuple(nodes), edges=tuple(dict.fromkeys(edges)), pairs=pairs_from_names(nodes))
