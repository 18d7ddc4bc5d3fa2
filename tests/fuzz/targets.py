"""Readers of files that may be somebody else's, with small valid files to mutate."""

import contextlib
import json
import pickle
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import sleap_io
import torch
from PIL import Image as PillowImage

from dlcpose.datasets.base import image_file_size, read_image_file
from dlcpose.datasets.coco import CocoFrames
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.datasets.lightning_pose import LightningPoseFrames
from dlcpose.datasets.sleap import SleapFrames
from dlcpose.datasets.video import VideoReader, video_info
from dlcpose.detectors.pose_files import read_poses
from dlcpose.exporters.coco import coco_labels
from dlcpose.exporters.pose_file import Provenance, read_pose_tracks, read_provenance, write_pose_tracks
from dlcpose.exporters.pose_tables import write_tables
from dlcpose.importers.pose_formats import pose_tracks, read_foreign_poses
from dlcpose.predict import load
from dlcpose.reports.comparison_page import table_rows
from dlcpose.runs.comparison import comparison_of
from dlcpose.structures.pose_tracks import VideoInfo
from dlcpose.tracking.corrections import Correction, Corrections, corrections_as_dict, read_corrections
from tests.datasets import sleap_files
from tests.datasets.dlc_projects import MULTI, labels, multi_columns, ten_frames, write_images, write_project
from tests.datasets.numbered_videos import write_numbered
from tests.fuzz import mutations
from tests.importers.foreign_tables import deeplabcut_table, saved
from tests.made_up_runs import checkpoint_of
from tests.runs.made_up_sweeps import made_up_run
from tests.structures.made_up_tracks import made_up_tracks

Mutate = Callable[[bytes, random.Random], bytes]


@dataclass
class Target:
    """A reader, and a folder of valid files of which one is mutated at a time.

    files: that may be mutated, from the folder. read: reads the folder. mutators: of their bytes; in_place: of a file.
    """

    folder: Path
    files: tuple[str, ...]
    read: Callable[[Path], Any]
    mutators: tuple[Mutate, ...] = ()
    in_place: Callable[[Path, random.Random], None] | None = None

    def corrupt(self, seed: int) -> Path:
        """Mutate one file; returns it. `restore` puts back what was there."""
        rng = random.Random(seed)
        path = self.folder / rng.choice(self.files)
        if self.in_place is not None and rng.random() < 0.6:
            with contextlib.suppress(MemoryError):  # after one change has made an array of terabytes, a second reads it
                self.in_place(path, rng)
        else:
            kept = path.read_bytes()
            path.write_bytes(rng.choice((mutations.mutate_bytes, *self.mutators))(kept, rng))
        return path


def _project(folder: Path) -> Path:
    return write_project(folder / "project", {"cage": ten_frames()[:3]})


def csv(folder: Path) -> Target:
    _project(folder)
    return Target(
        folder, ("project/labeled-data/cage/CollectedData_Ada.csv",), _read_project, (mutations.mutate_words,) * 2
    )


def multi_csv(folder: Path) -> Target:
    write_project(folder / "project", {"cage": labels("cage", np.ones((3, 14)), multi_columns())}, MULTI)
    return Target(
        folder, ("project/labeled-data/cage/CollectedData_Ada.csv",), _read_project, (mutations.mutate_words,) * 2
    )


def lightning_pose(folder: Path) -> Target:
    root = folder / "project"
    root.mkdir()
    write_images(root, ["a.png", "b.png"])
    columns = pd.MultiIndex.from_product(
        [["lightning_tracker"], ["nose", "tail"], ["x", "y", "visible"]], names=["scorer", "bodyparts", "coords"]
    )
    pd.DataFrame(np.ones((2, 6)), index=["a.png", "b.png"], columns=columns).to_csv(root / "labels.csv")
    return Target(
        folder,
        ("project/labels.csv",),
        lambda path: LightningPoseFrames(path / "project", labels="labels.csv"),
        (mutations.mutate_words,) * 2,
    )


def _h5(folder: Path, layout: str) -> Target:
    root = _project(folder)
    table = root / "labeled-data/cage/CollectedData_Ada"
    frame = ten_frames()[:3]
    if layout == "table":  # as DeepLabCut has it, with an index of paths
        frame.index = pd.Index(["/".join(place) for place in frame.index])
    frame.to_hdf(table.with_suffix(".h5"), key="df_with_missing", format=layout)
    table.with_suffix(".csv").unlink()
    return Target(folder, (f"{table.relative_to(folder)}.h5",), _read_project, in_place=mutations.mutate_h5)


def h5(folder: Path) -> Target:
    return _h5(folder, "fixed")


def h5_table(folder: Path) -> Target:
    return _h5(folder, "table")


def config_yaml(folder: Path) -> Target:
    write_project(
        folder / "project",
        {"cage": labels("cage", np.ones((3, 14)), multi_columns())},
        {**MULTI, "skeleton": [["nose", "earL"]]},
    )
    return Target(folder, ("project/config.yaml",), _read_project, (mutations.yaml_tree,) * 2)


def coco(folder: Path) -> Target:
    root = write_project(folder / "project", {"cage": labels("cage", np.ones((3, 14)), multi_columns())}, MULTI)
    content = coco_labels(DeepLabCutFrames(root), range(3))
    (root / "labels.json").write_text(json.dumps(content))
    return Target(
        folder, ("project/labels.json",), lambda path: CocoFrames(path / "project"), (mutations.json_tree,) * 3
    )


def split_pickle(folder: Path) -> Target:
    root = _project(folder)
    place = root / "training-datasets/iteration-0/UnaugmentedDataSet_t"
    place.mkdir(parents=True)
    shutil.copy(root / "labeled-data/cage/CollectedData_Ada.csv", place)
    content = [[{"image": "a", "size": [1, 2]}], np.array([0, 1]), [2], 0.95]
    path = place / "Documentation_data-t_95shuffle1.pickle"
    path.write_bytes(pickle.dumps(content))
    data = DeepLabCutFrames(root)

    def read(_: Path) -> None:
        vars(data).pop("stored_split", None)
        _ = data.stored_split

    return Target(folder, (str(path.relative_to(folder)),), read, (mutations.pickle_tree,))


def image(folder: Path) -> Target:
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8), (0, 0), 2)
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    names = ("a.png", "a.jpg", "a.tif", "a.webp", "a.bmp", "a.gif", "b.tif", "b.png")
    for name in names:
        stored = PillowImage.fromarray(picture[..., 0].astype(np.uint16) * 257 if name[0] == "b" else picture)
        content = BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(name[2:], name[2:].upper())
        stored.save(content, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "TIFF") else {}))
        (folder / name).write_bytes(content.getvalue())

    def read(place: Path) -> None:
        for name in names:
            path = place / name
            if path.stat().st_mtime_ns != times[name]:
                image_file_size(path)
                read_image_file(path)

    times = {name: (folder / name).stat().st_mtime_ns for name in names}
    return Target(folder, names, read)


def run_json(folder: Path) -> Target:
    for name in ("x", "y"):
        made_up_run(folder / "runs" / name, "resnet_18", 0.001, int(name == "y"))
    files = tuple(
        str(path.relative_to(folder)) for path in sorted((folder / "runs" / "x").rglob("*")) if path.is_file()
    )
    texts = tuple(name for name in files if name.endswith((".json", ".csv", ".yaml")))
    return Target(folder, texts, lambda path: table_rows(comparison_of([path / "runs"])), (_tree_of_any,) * 3)


def _tree_of_any(content: bytes, rng: random.Random) -> bytes:
    """Of a json or a yaml its values, else its words."""
    try:
        return json.dumps(mutations.mutate_tree(json.loads(content), rng)).encode()
    except ValueError:
        return mutations.mutate_words(content, rng)


def pose_file(folder: Path) -> Target:
    path = folder / "cage.poses.h5"
    write_pose_tracks(path, made_up_tracks(frames=4, unique=("door",)), Provenance())

    def read(place: Path) -> None:
        read_pose_tracks(place / path.name)
        read_provenance(place / path.name)

    return Target(folder, (path.name,), read, in_place=mutations.mutate_h5)


def pose_json(folder: Path) -> Target:
    skeleton = made_up_tracks().skeleton
    pose = [[1.0, 2.0, 0.5]] * len(skeleton)
    (folder / "poses.json").write_text(json.dumps({"a.png": [pose, pose], "b.png": []}))
    return Target(
        folder, ("poses.json",), lambda path: read_poses(path / "poses.json", skeleton), (mutations.json_tree,) * 3
    )


def coco_results(folder: Path) -> Target:
    skeleton = made_up_tracks().skeleton
    entry = {"image_id": 1, "category_id": 1, "keypoints": [1.0, 2.0, 2] * len(skeleton), "score": 0.5}
    (folder / "predictions.json").write_text(json.dumps([entry, entry]))
    images = [{"id": 1, "file_name": "a.png"}]
    categories = [{"id": 1, "keypoints": list(skeleton.names)}]
    (folder / "labels.json").write_text(json.dumps({"images": images, "categories": categories}))
    files = ("predictions.json", "labels.json")
    return Target(
        folder, files, lambda path: read_poses(path / "predictions.json", skeleton), (mutations.json_tree,) * 3
    )


def corrections(folder: Path) -> Target:
    content = corrections_as_dict(
        Corrections("f" * 16, "0" * 64, (Correction(1, 0, 1, "keep"), Correction(2, 0, 1, "swap_between", 3)))
    )
    (folder / "corrections.json").write_text(json.dumps(content))
    read_corrections(folder / "corrections.json")
    return Target(
        folder,
        ("corrections.json",),
        lambda path: read_corrections(path / "corrections.json"),
        (mutations.json_tree,) * 3,
    )


def checkpoint(folder: Path) -> Target:
    path = checkpoint_of(folder)

    def in_place(place: Path, rng: random.Random) -> None:
        mutations.checkpoint_tree(place, rng, lambda tree: torch.save(tree, place))

    return Target(folder, (path.name,), lambda place: load(place / path.name, device="cpu"), in_place=in_place)


def slp(folder: Path) -> Target:
    mouse = sleap_files.skeleton()
    video = sleap_io.Video.from_filename([str(path) for path in sleap_files.images(folder / "images", 3)])
    frames = [
        sleap_io.LabeledFrame(video=video, frame_idx=number, instances=[sleap_files.animal(mouse, 3.0)])
        for number in range(3)
    ]
    sleap_files.saved(folder / "a.slp", frames, [video])
    return Target(
        folder, ("a.slp",), lambda path: SleapFrames(path / "a.slp", needs_images=False), in_place=mutations.mutate_h5
    )


def predictions_csv(folder: Path) -> Target:
    saved(deeplabcut_table(range(4), ("mouse1", "mouse2")), folder / "a.csv")
    return Target(folder, ("a.csv",), lambda path: _imported(path / "a.csv"), (mutations.mutate_words,) * 2)


def predictions_h5(folder: Path) -> Target:
    saved(deeplabcut_table(range(4), ("mouse1", "mouse2")), folder / "a.h5")
    return Target(folder, ("a.h5",), lambda path: _imported(path / "a.h5"), in_place=mutations.mutate_h5)


def predictions_slp(folder: Path) -> Target:
    (path,) = write_tables(made_up_tracks(frames=4), folder, "a", formats=["sleap"])
    return Target(folder, (path.name,), lambda place: _imported(place / path.name), in_place=mutations.mutate_h5)


def sleap_analysis(folder: Path) -> Target:
    (path,) = write_tables(made_up_tracks(frames=4), folder, "a", formats=["sleap_analysis"])
    return Target(folder, (path.name,), lambda place: _imported(place / path.name), in_place=mutations.mutate_h5)


def movement(folder: Path) -> Target:
    (path,) = write_tables(made_up_tracks(frames=4), folder, "a", formats=["movement"])
    return Target(folder, (path.name,), lambda place: _imported(place / path.name), in_place=mutations.mutate_h5)


def long_csv(folder: Path) -> Target:
    (path,) = write_tables(made_up_tracks(frames=4, unique=("door",)), folder, "a", formats=["csv"])
    return Target(folder, (path.name,), lambda place: _imported(place / path.name), (mutations.mutate_words,) * 2)


def long_parquet(folder: Path) -> Target:
    (path,) = write_tables(made_up_tracks(frames=4, unique=("door",)), folder, "a", formats=["parquet"])
    return Target(folder, (path.name,), lambda place: _imported(place / path.name))


def _imported(path: Path) -> None:
    film = VideoInfo("a.mp4", "f" * 32, 48, 64, 4, 25.0)
    for poses in read_foreign_poses(path):
        pose_tracks(poses, path, film, poses.frames / 25)


def video(folder: Path) -> Target:
    write_numbered(folder / "a.mp4", 4)

    def read(place: Path) -> None:
        video_info(place / "a.mp4")
        for number, _ in enumerate(VideoReader(place / "a.mp4")):
            if number == 3:
                break

    return Target(folder, ("a.mp4",), read)


def _read_project(folder: Path) -> DeepLabCutFrames:
    return DeepLabCutFrames(folder / "project")


TARGETS: dict[str, Callable[[Path], Target]] = {
    make.__name__: make
    for make in (
        *(
            csv,
            multi_csv,
            h5,
            h5_table,
            config_yaml,
            coco,
            split_pickle,
            image,
            run_json,
            pose_file,
            pose_json,
            coco_results,
        ),
        *(corrections, checkpoint, slp, video, lightning_pose),
        *(predictions_csv, predictions_h5, predictions_slp, sleap_analysis, movement),
        *(long_csv, long_parquet),
    )
}
