"""Models of DeepLabCut made by DeepLabCut itself, in an environment of its own, and what dlcpose makes of them."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from dlcpose.datasets.crops import whole
from dlcpose.heads.deeplabcut_dekr import DeepLabCutDekrHead
from dlcpose.heads.deeplabcut_heatmap import DeepLabCutHeatmapHead
from dlcpose.heads.deeplabcut_paf import DeepLabCutPafHead
from dlcpose.heads.deeplabcut_rtmcc import DeepLabCutRtmccHead
from dlcpose.heads.deeplabcut_tokenpose import DeepLabCutTokenPoseHead
from dlcpose.heads.part_affinity import PartAffinityMaps
from dlcpose.importers.deeplabcut import read_model
from dlcpose.importers.imported import write_checkpoint
from dlcpose.pipelines.base import PoseEstimator, PoseMaps
from dlcpose.predict import Predictor, load
from dlcpose.side_heads.deeplabcut_identity import DeepLabCutIdentityHead
from dlcpose.side_heads.unique import UniqueHead
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.sample import PoseSample, labels_of

Pair = tuple[np.ndarray, np.ndarray]  # ours, theirs
VARIABLE = "DLCPOSE_DEEPLABCUT_PYTHON"
WORKER = Path(__file__).with_name("deeplabcut_worker.py")
SIZES = ((160, 192), (224, 256))  # of the images, multiples of 32: DeepLabCut pads others at a random place


@dataclass(frozen=True)
class Case:
    """A model to make: DeepLabCut's net type, and further entries of the worker's job."""

    net_type: str
    job: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    sizes: tuple[tuple[int, int], ...] = SIZES

    def __str__(self) -> str:
        return self.name or self.net_type


def deeplabcut_python() -> str:
    """The Python that has DeepLabCut; skips the test, with the reason, where there is none."""
    if not (python := os.environ.get(VARIABLE)):
        pytest.skip(f"{VARIABLE} does not name the Python of an environment with deeplabcut==3.0.2")
    return python


def make(case: Case, folder: Path) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """The model in `folder`, random images (RGB), and what DeepLabCut made of them."""
    rng = np.random.default_rng(0)
    images, paths = [], []
    for index, (height, width) in enumerate(case.sizes):
        noise = cv2.GaussianBlur(rng.uniform(0, 255, (height, width, 3)), (0, 0), 3)
        noise = (noise - noise.min()) / (noise.max() - noise.min()) * 255
        images.append(noise.astype(np.uint8))
        paths.append(str(folder / f"{index}.png"))
        cv2.imwrite(paths[-1], images[-1][:, :, ::-1])
    job = {
        **{"net_type": case.net_type, "multi_animal": False, "individuals": ["individual_1"], "seed": 0},
        **{"bodyparts": ["nose", "left_ear", "right_ear", "tail"], "folder": str(folder), "images": paths},
        **case.job,
    }
    (folder / "job.json").write_text(json.dumps(job))
    # Only what the other Python needs: our own packages must not be found there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ran = subprocess.run(
        [deeplabcut_python(), str(WORKER), str(folder / "job.json")],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    failed = folder / "error.txt"
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert not failed.exists(), failed.read_text()
    with np.load(folder / "results.npz") as results:
        return images, dict(results)


def imported(folder: Path) -> Predictor:
    """The model of a folder as dlcpose imports it."""
    write_checkpoint(read_model(folder), folder / "model.ckpt")
    return load(folder / "model.ckpt", device="cpu")


def batch_of(image: np.ndarray, keypoints: int) -> PoseBatch:
    """An image without labels as a batch, at its own size."""
    labels = labels_of("0", image.shape[:2], np.zeros((0, keypoints, 2), np.float32))
    return collate([whole(PoseSample(labels, image))])


def paired_outputs(pipeline: PoseEstimator, maps: PoseMaps, theirs: Mapping[str, np.ndarray]) -> dict[str, Pair]:
    """The networks' outputs by name, in DeepLabCut's units: ours and theirs (heads' names before their outputs')."""
    head: Any = pipeline.head
    paired = dict(PAIRED[type(head)](head, maps.animals, _of_head(theirs, "bodypart")))
    for side_head, side_maps in zip(pipeline.side_heads.values(), maps.side_heads, strict=True):
        if isinstance(side_head, DeepLabCutIdentityHead):
            paired["identity"] = (side_maps.logits, _of_head(theirs, "identity")["heatmap"])
        else:
            assert isinstance(side_head, UniqueHead)
            unique = _of_heatmap_head(side_head.head, side_maps, _of_head(theirs, "unique_bodypart"))
            paired |= {f"unique {name}": pair for name, pair in unique.items()}
    return {name: (ours.numpy(), expected) for name, (ours, expected) in paired.items()}


def _of_head(theirs: Mapping[str, np.ndarray], head: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(f"raw/{head}/"): value for name, value in theirs.items() if name.startswith(f"raw/{head}/")
    }


def _of_heatmap_head(head: Any, maps: Any, theirs: Mapping[str, np.ndarray]) -> dict[str, tuple[Tensor, np.ndarray]]:
    heatmaps = _sigmoid(theirs["heatmap"]) if head.sigmoid else theirs["heatmap"]
    paired = {"heatmap": (maps.heatmaps, heatmaps)}
    if maps.offsets is not None:
        paired["locref"] = ((maps.offsets / head.cells_per_unit).flatten(1, 2), theirs["locref"])
    return paired


def _of_paf_head(head: Any, maps: Any, theirs: Mapping[str, np.ndarray]) -> dict[str, tuple[Tensor, np.ndarray]]:
    return {
        "heatmap": (maps.heatmaps, _sigmoid(theirs["heatmap"])),
        "locref": ((maps.offsets / head.cells_per_unit).flatten(1, 2), theirs["locref"]),
        "paf": (maps.fields.flatten(1, 2), theirs["paf"]),
    }


def paf_maps(head: Any, theirs: Mapping[str, np.ndarray]) -> PartAffinityMaps:
    """DeepLabCut's outputs of part affinity as the maps that our head decodes."""
    outputs = {name: torch.from_numpy(value) for name, value in _of_head(theirs, "bodypart").items()}
    offsets = head.cells_per_unit * outputs["locref"].unflatten(1, (-1, 2))
    return PartAffinityMaps(outputs["heatmap"].sigmoid(), offsets, outputs["paf"].unflatten(1, (-1, 2)), ())


def _of_dekr_head(head: Any, maps: Any, theirs: Mapping[str, np.ndarray]) -> dict[str, tuple[Tensor, np.ndarray]]:
    heatmaps = torch.cat((maps.heatmaps, maps.centers), dim=1)
    return {"heatmap": (heatmaps, theirs["heatmap"]), "offset": (-maps.offsets.flatten(1, 2), theirs["offset"])}


def _of_rtmcc_head(head: Any, maps: Any, theirs: Mapping[str, np.ndarray]) -> dict[str, tuple[Tensor, np.ndarray]]:
    return {"x": (maps.x, theirs["x"]), "y": (maps.y, theirs["y"])}


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


PAIRED: dict[type, Callable[..., dict[str, tuple[Tensor, np.ndarray]]]] = {
    DeepLabCutHeatmapHead: _of_heatmap_head,
    DeepLabCutPafHead: _of_paf_head,
    DeepLabCutDekrHead: _of_dekr_head,
    DeepLabCutRtmccHead: _of_rtmcc_head,
    DeepLabCutTokenPoseHead: _of_heatmap_head,
}
