"""Every table format read back by a library that is not ours: arrays over frames and animals, as they were written."""

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import sleap_io
from pycocotools.coco import COCO

from dlcpose.structures.pose_tracks import PoseTracks


@dataclass
class Read:
    """Points (T, N, K, 2), scores (T, N, K) and times (T,), where the format has them; unique (T, U, 3)."""

    points: np.ndarray
    scores: np.ndarray
    times: np.ndarray | None = None
    unique: np.ndarray | None = None


def of_deeplabcut(tracks: PoseTracks, table: pd.DataFrame) -> Read:
    """A DeepLabCut table by the names of its columns."""
    assert table.index.tolist() == list(range(len(table)))
    table = table.droplevel(0, axis=1)
    names, unique = tracks.skeleton.names, tracks.skeleton.unique
    if "individuals" not in table.columns.names:
        table = pd.concat({tracks.individuals[0]: table}, axis=1)

    def values(owner: str, keypoints: Sequence[str]) -> np.ndarray:
        columns = [(owner, name, coord) for name in keypoints for coord in ("x", "y", "likelihood")]
        return table[columns].to_numpy().reshape(len(table), len(keypoints), 3)

    animals = np.stack([values(individual, names) for individual in tracks.individuals], axis=1)  # (T, N, K, 3)
    return Read(animals[..., :2], animals[..., 2], unique=values("single", unique))


def read_deeplabcut(paths: Sequence[Path], tracks: PoseTracks) -> Read:
    with_key = pd.read_hdf(paths[0], key="df_with_missing")
    pd.testing.assert_frame_equal(with_key, pd.read_hdf(paths[0]))
    assert set(with_key.dtypes) == {np.dtype(np.float64)}
    return of_deeplabcut(tracks, with_key)


def read_deeplabcut_csv(paths: Sequence[Path], tracks: PoseTracks) -> Read:
    header = [line.split(",")[0] for line in paths[0].read_text().splitlines()[:4]]
    levels = header.index("coords") + 1
    return of_deeplabcut(tracks, pd.read_csv(paths[0], header=list(range(levels)), index_col=0))


def read_coco(paths: Sequence[Path], tracks: PoseTracks) -> Read:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(paths[0]))
        found = coco.loadRes(str(paths[1])) if json.loads(paths[1].read_text()) else None
    read = empty(tracks)
    read.times = np.array([image["time"] for image in coco.loadImgs(sorted(coco.getImgIds()))], float)
    for index, image_id in enumerate(sorted(coco.getImgIds())):
        assert coco.loadImgs(image_id)[0]["frame_index"] == index
        animals = [] if found is None else found.loadAnns(found.getAnnIds(imgIds=[image_id]))
        free = iter(np.flatnonzero(tracks.gapless().is_present[index]))  # without tracks the order is all there is
        for animal in animals:
            column = animal["track_id"] - 1 if tracks.is_tracked else next(free)
            triplets = np.array(animal["keypoints"], float).reshape(-1, 3)
            read.points[index, column] = np.where(triplets[:, 2:] > 0, triplets[:, :2], np.nan)
            read.scores[index, column] = animal["keypoint_scores"]
    if tracks.skeleton.unique:
        for entry in json.loads(paths[2].read_text()):
            triplets = np.array(entry["unique_keypoints"], float).reshape(-1, 3)
            points = np.where(triplets[:, 2:] > 0, triplets[:, :2], np.nan)
            read.unique[entry["image_id"] - 1] = np.column_stack([points, entry["unique_keypoint_scores"]])
    return read


def read_sleap(paths: Sequence[Path], tracks: PoseTracks) -> Read:
    labels = sleap_io.load_slp(str(paths[0]))
    assert [track.name for track in labels.tracks] == list(tracks.individuals if tracks.is_tracked else ())
    read = empty(tracks)
    for frame in labels:
        free = iter(np.flatnonzero(tracks.gapless().is_present[frame.frame_idx]))
        for animal in frame.instances:
            column = labels.tracks.index(animal.track) if animal.track else next(free)
            values = animal.numpy(scores=True)
            read.points[frame.frame_idx, column], read.scores[frame.frame_idx, column] = values[:, :2], values[:, 2]
    read.unique = None
    return read


def read_sleap_analysis(paths: Sequence[Path], tracks: PoseTracks) -> Read:
    with h5py.File(paths[0]) as file:
        points, scores = file["tracks"][()].transpose(3, 0, 2, 1), file["point_scores"][()].transpose(2, 0, 1)
        names = [name.decode() for name in file["track_names"]]
        is_there = file["track_occupancy"][()].astype(bool)  # (T, seen)
        assert [name.decode() for name in file["node_names"]] == list(tracks.skeleton.names)
    read = empty(tracks)
    seen = np.flatnonzero(tracks.is_present.any(axis=0))
    if tracks.is_tracked:
        assert names == [tracks.individuals[column] for column in seen]
    np.testing.assert_array_equal(is_there, tracks.gapless().is_present[:, seen])
    read.points[:, seen], read.scores[:, seen] = points, np.nan_to_num(scores)
    read.unique = None
    return read


def read_movement(paths: Sequence[Path], tracks: PoseTracks) -> Read:
    import xarray as xr

    with xr.open_dataset(paths[0]) as dataset:
        keypoints, individuals = dataset["confidence"].dims[1:]
        assert (keypoints, individuals) in (("keypoints", "individuals"), ("keypoint", "individual"))
        assert dataset[individuals].to_numpy().tolist() == list(tracks.individuals)
        assert dataset[keypoints].to_numpy().tolist() == list(tracks.skeleton.names)
        return Read(
            dataset["position"].transpose("time", individuals, keypoints, "space").to_numpy(),
            dataset["confidence"].transpose("time", individuals, keypoints).to_numpy(),
            dataset["time"].to_numpy(),
        )


def read_nwb(paths: Sequence[Path], tracks: PoseTracks) -> Read:
    from pynwb import NWBHDF5IO

    read = empty(tracks)
    for column, path in enumerate(paths):
        with NWBHDF5IO(str(path), "r") as io:
            file = io.read()
            assert file.subject.subject_id == tracks.individuals[column]
            estimation = file.processing["behavior"]["PoseEstimation"]
            assert list(estimation.skeleton.nodes[:]) == list(tracks.skeleton.names)
            for place, name in enumerate(tracks.skeleton.names):
                series = estimation.pose_estimation_series[name]
                read.points[:, column, place] = series.data[()]
                read.scores[:, column, place] = series.confidence[()]
                read.times = np.asarray(series.timestamps)
    read.unique = None
    return read


def read_parquet(paths: Sequence[Path], tracks: PoseTracks) -> Read:
    table = pd.read_parquet(paths[0])
    table = table.astype({"individual": object, "keypoint": object})
    return of_tidy(table, tracks)


def read_csv(paths: Sequence[Path], tracks: PoseTracks) -> Read:
    return of_tidy(pd.read_csv(paths[0], dtype={"individual": object, "keypoint": object}), tracks)


def of_tidy(table: pd.DataFrame, tracks: PoseTracks) -> Read:
    """Tidy rows by what stands in them, in whatever order."""
    assert list(table.columns) == ["frame", "time", "individual", "keypoint", "x", "y", "score"]
    frames = table.groupby("frame")["time"].first()
    assert frames.index.tolist() == list(range(len(frames)))
    rows = table.sample(frac=1, random_state=0).set_index(["individual", "keypoint", "frame"])[["x", "y", "score"]]
    rows = rows.sort_index()

    def values(owner: Any, name: str) -> np.ndarray:
        return rows.xs((owner, name), level=("individual", "keypoint")).to_numpy(float)

    names = tracks.skeleton.names
    animals = np.stack([np.stack([values(who, name) for name in names], axis=1) for who in tracks.individuals], axis=1)
    arena = table[table["individual"].isna()].pivot(index="frame", columns="keypoint", values=["x", "y", "score"])
    unique = [arena.xs(name, axis=1, level="keypoint").to_numpy(float) for name in tracks.skeleton.unique]
    read = Read(animals[..., :2], animals[..., 2], frames.to_numpy())
    read.unique = np.stack(unique, axis=1) if unique else np.zeros((len(frames), 0, 3))
    return read


def empty(tracks: PoseTracks) -> Read:
    """Nothing found in any frame."""
    frames, animals, keypoints = len(tracks.gapless()), len(tracks.individuals), len(tracks.skeleton.names)
    unique = np.full((frames, len(tracks.skeleton.unique), 3), [np.nan, np.nan, 0.0])
    return Read(np.full((frames, animals, keypoints, 2), np.nan), np.zeros((frames, animals, keypoints)), unique=unique)


READ: Mapping[str, Callable[[Sequence[Path], PoseTracks], Read]] = {
    "coco": read_coco,
    "csv": read_csv,
    "deeplabcut": read_deeplabcut,
    "deeplabcut_csv": read_deeplabcut_csv,
    "movement": read_movement,
    "movement_0.17": read_movement,
    "nwb": read_nwb,
    "parquet": read_parquet,
    "sleap": read_sleap,
    "sleap_analysis": read_sleap_analysis,
}
