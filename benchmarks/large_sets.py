"""What large data sets cost: opening them, their labels' memory, an epoch through the loader, and OKS evaluation.

Opened are COCO files of made-up animals (two with 17 keypoints in each image; the images are links to one file) and rendered
mice. Memory is what the process holds beyond what it held before: once the data are open, and once so many of their images
were read, augmented and collated, with a cache of 64 MB for decoded images. Evaluated are made-up predictions, 2 animals in
an image, by the metric that every run has. Each row comes from a process of its own.

    python benchmarks/large_sets.py                           # up to 100,000 images and 20,000 animals
    python benchmarks/large_sets.py --images 100 1000 --animals 2000
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import albumentations
import cv2
import numpy as np
from report import Report

from dlcpose.augmentations.fixed import FixedAugmentation
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.coco import CocoFrames
from dlcpose.datasets.datamodule import PoseDataModule
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.oks import ObjectKeypointSimilarity
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.split import Split

KEYPOINTS, SIDE = 17, 64
CACHE_GB = 1 / 16
Row = dict[str, str | int | float]


def coco_frames(images: int, folder: Path) -> LabeledFrames:
    """A COCO file of so many images, and the data set of it. Sizes stand in the json."""
    picture = np.random.default_rng(0).integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "picture.png"), picture)
    rng = np.random.default_rng(1)
    entries = []
    for number in range(images):
        if number % 30_000 == 0:  # a file has so many names at most on most file systems
            source = folder / f"picture{number}.png"
            source.write_bytes((folder / "picture.png").read_bytes())
        os.link(source, folder / f"{number:06d}.png")
        entries.append({"id": number, "file_name": f"{number:06d}.png", "height": SIDE, "width": SIDE})
    animals = []
    for number in range(2 * images):
        points = rng.uniform(0, SIDE - 1, (KEYPOINTS, 2)).round(2)
        triples = np.concatenate((points, np.full((KEYPOINTS, 1), 2)), axis=1).ravel().tolist()
        box = [*points.min(axis=0).tolist(), *np.ptp(points, axis=0).tolist()]
        animals.append(
            {"id": number, "image_id": number // 2, "category_id": 1, "keypoints": triples, "num_keypoints": KEYPOINTS}
            | {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        )
    category = {"id": 1, "name": "animal", "keypoints": [f"k{number}" for number in range(KEYPOINTS)]}
    content = {"images": entries, "annotations": animals, "categories": [category]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return CocoFrames(folder, annotations="annotations.json")


def rendered_frames(images: int, folder: Path) -> LabeledFrames:
    return SyntheticFrames(frames=images, height=SIDE, width=SIDE, skeleton="mouse", animals=1)


def open_and_read(make: Callable[[int, Path], LabeledFrames], images: int, read: int) -> Row:
    """Seconds and memory of opening a data set, and of reading at most `read` images of it in an epoch."""
    with tempfile.TemporaryDirectory() as folder:
        make(2, Path(folder))  # what is imported on first use
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if make is coco_frames:
            coco_frames(images, folder)
            make = open_coco_frames
        before, began = resident_mb(), time.perf_counter()
        data = make(images, folder)
        opened, held = time.perf_counter() - began, resident_mb() - before
        keys = tuple(frame.key for frame in data.frames)
        augmentation = FixedAugmentation([albumentations.HorizontalFlip(p=0.5)])
        model_input = Input(SIDE, SIDE)
        schedule = augmentation.schedule(data.frames[:1], data.skeleton, model_input, may_crop=False)
        split = Split(keys, (), ())
        module = PoseDataModule(
            data, split, model_input, schedule, seed=0, workers=0, cache_gb=CACHE_GB, batch_size=8, min_steps=0
        )
        began, shown = time.perf_counter(), 0
        for batch in module.train_dataloader():
            shown += len(batch)
            if shown >= read:
                break
        rate = shown / (time.perf_counter() - began)
        return {
            "data": "COCO" if make is open_coco_frames else "rendered",
            "images": images,
            "seconds to open": opened,
            "MB when open": held,
            "images read": shown,
            "MB then": resident_mb() - before,
            "images/s in the loader": rate,
        }


def open_coco_frames(images: int, folder: Path) -> LabeledFrames:
    return CocoFrames(folder, annotations="annotations.json")


def evaluate(animals: int) -> Row:
    """Seconds of OKS AP for so many animals, each predicted a few pixels off."""
    data = SyntheticFrames(frames=animals // 2, height=SIDE, width=SIDE, skeleton="mouse", animals=2)
    rng = np.random.default_rng(0)
    predictions = []
    for frame in data.frames:
        points = frame.keypoints_in_image + rng.normal(scale=1.0, size=frame.keypoints_in_image.shape).astype(
            np.float32
        )
        count, joints = points.shape[:2]
        predictions.append(
            PosePrediction(
                key=frame.key,
                keypoints_in_image=points,
                keypoint_scores=np.ones((count, joints), np.float32),
                scores=rng.random(count).astype(np.float32),
                identities=np.full(count, -1),
                unique_in_image=np.zeros((0, 2), np.float32),
                unique_scores=np.zeros(0, np.float32),
                boxes_in_image=np.full((count, 4), np.nan, np.float32),
            )
        )
    frames = EvaluatedFrames(predictions, list(data.frames), data.skeleton)
    began = time.perf_counter()
    figures = ObjectKeypointSimilarity()(frames)
    seconds = time.perf_counter() - began
    return {"animals evaluated": animals, "seconds of OKS AP": seconds, "OKS AP": figures["oks_ap"]}


def resident_mb() -> float:
    """Memory that the process holds, in MB, by Linux's account."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--read", type=int, default=10_000, help="images that an epoch reads at most")
    parser.add_argument("--animals", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    report = Report("Large data sets: opening, memory, an epoch through the loader, OKS evaluation")
    jobs = [
        *(
            (open_and_read, (make, images, arguments.read))
            for make in (coco_frames, rendered_frames)
            for images in arguments.images
        ),
        *((evaluate, (animals,)) for animals in arguments.animals),
    ]
    for function, given in jobs:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            report.add(process.apply(function, given))
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
