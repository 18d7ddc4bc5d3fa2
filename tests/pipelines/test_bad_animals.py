"""Odd labels of several animals: either they train and evaluate, or one clear line says what is wrong before training."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.datasets.dlc_projects import MULTI, labels, multi_columns, write_project
from tests.shells import SHORT, SMALL, TINY, reason, shell

NAMES = ("nose", "left_ear", "right_ear", "tail")
FRAMES = 12  # the last two are for test, the one before them to validate
QUICK = ("split.val=0.1", "datamodule.batch_size=4", *SHORT)
DETECTOR = (
    *("backbone@detector.backbone=timm", "detector.backbone.name=test_resnet"),
    *("detector.neck.channels=16", "detector.channels=16", "detector.threshold=0.0"),
)
CROPS = ("input.height=32", "input.width=32", "pipeline.crops.threshold=0.0")
MODELS = {
    "part_affinity": ("model=bottom_up_resnet_18", *TINY),
    "dekr": ("model=dekr_w18", "backbone=timm", "backbone.name=test_resnet", "head.offset_channels=4"),
    "top_down": ("model=top_down_resnet_18", *TINY, *DETECTOR, *CROPS, "detector/boxes=stored"),
    "detection": ("model=detection", *DETECTOR, "detector/boxes=stored"),
    "ssdlite": ("model=detection", "detector=ssdlite", "detector/boxes=stored"),
}
Animal = dict[str, Any]
SLOW = pytest.mark.slow


def posed(seen: int = 2, count: int = len(NAMES), **more: Any) -> Animal:
    points = np.random.default_rng(count).uniform(8, 40, (count, 2))
    return {"keypoints": [number for x, y in points for number in (x, y, seen)], **more}


# What annotators leave behind: an animal each.
ODD = {
    "nothing known": posed(seen=0),
    "box alone": {"bbox": [5, 5, 20, 20]},
    "box beyond the image": posed(bbox=[200, 200, 20, 20]),
    "box partly beyond it": posed(bbox=[-50, -50, 70, 70]),
    "box without area": posed(bbox=[20, 20, 0, 0]),
    "box without width": posed(seen=0, bbox=[10, 30, 0, 12]),
    "one keypoint": {"keypoints": [30.0, 30.0, 2, *[0, 0, 0] * (len(NAMES) - 1)]},
    "keypoint beyond the image": {"keypoints": [90.0, 30.0, 2, 60.0, 30.0, 2, *[0, 0, 0] * (len(NAMES) - 2)]},
}


def coco(root: Path, animals_of: Callable[[int], Sequence[Animal]], names: Sequence[str] = NAMES) -> None:
    """Twelve pictures of noise with these animals."""
    root.mkdir()
    rng, images, annotations = np.random.default_rng(0), [], []
    for frame in range(FRAMES):
        assert cv2.imwrite(str(root / f"{frame:02d}.png"), rng.integers(0, 255, (48, 64, 3), np.uint8))
        images.append({"id": frame, "file_name": f"{frame:02d}.png", "height": 48, "width": 64})
        for animal in animals_of(frame):
            annotations.append({"id": len(annotations), "image_id": frame, "category_id": 1, "iscrowd": 0, **animal})
    edges = [[1, number] for number in range(2, len(names) + 1)]
    kind = {"id": 1, "name": "mouse", "keypoints": list(names), "skeleton": edges}
    (root / "labels.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": [kind]}))


def trained(*arguments: str) -> dict[str, float | None]:
    """The figures of a run that must succeed, with losses that stay finite."""
    answer = shell("train.py", *arguments, *QUICK)
    assert answer.code == 0, answer.err[-2000:]
    (run,) = Path("outputs").glob("*/*/*")
    for path in run.rglob("metrics.csv"):
        with path.open() as file:
            rows = list(csv.DictReader(file))
        losses = [row[name] for row in rows for name in row if "/loss" in name and row[name]]
        assert losses
        assert all(math.isfinite(float(loss)) for loss in losses), path
    assert (run / "checkpoints" / "best.ckpt").is_file()
    figures: dict[str, float | None] = json.loads((run / "evaluation" / "metrics.json").read_text())
    return figures


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_odd_labels_train_and_evaluate(model: str, here: Path) -> None:
    """Every third image is empty, the others show a plain animal and odd ones: each kind is in every set."""
    odd = list(ODD.values())

    def animals_of(frame: int) -> list[Animal]:
        return [] if frame % 3 == 1 else [posed(), odd[frame % len(odd)], odd[(frame + 4) % len(odd)]]

    coco(here / "data", animals_of)
    figures = trained(*MODELS[model], "dataset=coco", "dataset.root=data")
    assert figures["box_ap" if "oks_ap" not in figures else "oks_ap"] is not None


@pytest.mark.parametrize(
    "model", ["part_affinity", pytest.param("dekr", marks=SLOW), pytest.param("top_down", marks=SLOW)]
)
def test_a_skeleton_of_one_keypoint(model: str, here: Path) -> None:
    coco(here / "data", lambda frame: [posed(count=1)] * (frame % 3 + 1), names=("nose",))
    figures = trained(*MODELS[model], "dataset=coco", "dataset.root=data")
    assert figures["pck@0.1"] is None  # one place has no size
    assert figures["oks_ap"] is not None


@pytest.mark.slow
def test_a_deeplabcut_project_with_an_animal_that_is_never_there(here: Path) -> None:
    points = np.random.default_rng(0).uniform(2, 28, (FRAMES, 14))
    points[:, 6:12] = np.nan  # animal b
    points[4] = np.nan  # a frame without labels
    write_project(here / "mice", {"cage": labels("cage", points, multi_columns())}, MULTI)
    figures = trained(*MODELS["dekr"], "dataset=deeplabcut", "dataset.root=mice")
    assert figures["animals"] == figures["images"] == 2


@pytest.mark.slow
def test_rendered_animals_that_come_and_go(here: Path) -> None:
    answer = shell("train.py", *MODELS["part_affinity"], "dataset.animals=[0,2]", *SMALL)
    assert answer.code == 0, answer.err[-2000:]


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ((*MODELS["part_affinity"], "head.max_animals=2"), "head"),
        ((*MODELS["top_down"], "detector.max_animals=2"), "detector"),
    ],
    ids=["part_affinity", "top_down"],
)
def test_more_animals_than_max_animals(arguments: tuple[str, ...], where: str, here: Path) -> None:
    said = reason(shell("train.py", *arguments, "dataset.animals=3", *SMALL))
    assert said.startswith(f"{where}.max_animals=2: ")
    assert f"{where}.max_animals=3" in said
    assert not list(here.rglob("checkpoints"))


def test_an_identity_head_needs_data_with_identities(here: Path) -> None:
    coco(here / "coco", lambda frame: [posed(), posed()])
    write_project(here / "mice", {"cage": labels("cage", np.ones((FRAMES, 14)), multi_columns())}, MULTI)
    for data in (("dataset=coco", "dataset.root=coco"), ("dataset=deeplabcut", "dataset.root=mice"), SMALL):
        animals = ("dataset.animals=2",) if data is SMALL else ()
        said = reason(shell("train.py", *MODELS["dekr"], "side_head=[identity]", *data, *animals, *SHORT))
        assert said.startswith("side_head.identity: ")
    assert not list(here.rglob("checkpoints"))


@pytest.mark.parametrize(
    ("empty", "said"),
    [
        (range(9, 10), "None of the 1 frame of the val set, such as 09.png"),
        (range(9), "None of the 9 frames of the train set, such as 00.png"),
    ],
    ids=["val", "train"],
)
def test_a_set_without_any_animal(empty: range, said: str, here: Path) -> None:
    coco(here / "data", lambda frame: [posed(seen=0)] if frame in empty else [posed()])
    answer = shell("train.py", *MODELS["dekr"], "dataset=coco", "dataset.root=data", *QUICK)
    assert reason(answer).startswith(said)
    assert not list(here.rglob("checkpoints"))


@pytest.mark.parametrize("box", [[20, 20, -5, 8], [20, 20, 5, -0.5], [float("nan"), 20, 5, 8], [1, 1, float("inf"), 8]])
def test_a_box_that_is_no_box(box: list[float], here: Path) -> None:
    coco(here / "data", lambda frame: [posed(bbox=box)])
    said = reason(shell("train.py", *MODELS["detection"], "dataset=coco", "dataset.root=data", *QUICK))
    assert said.startswith(f"{Path('data', 'labels.json')}: annotation 0")
    assert "bbox" in said
    assert str(box) in said
