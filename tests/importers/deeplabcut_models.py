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

from dlcpose.heads.deeplabcut_heatmap import DeepLabCutHeatmapHead
from dlcpose.importers.deeplabcut import read_model
from dlcpose.importers.imported import write_checkpoint
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.predict import Predictor, load

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
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    with np.load(folder / "results.npz") as results:
        return images, dict(results)


def imported(folder: Path) -> Predictor:
    """The model of a folder as dlcpose imports it."""
    write_checkpoint(read_model(folder), folder / "model.ckpt")
    return load(folder / "model.ckpt", device="cpu")


def raw_outputs(pipeline: PoseEstimator, images: Tensor) -> dict[str, Tensor]:
    """The networks' outputs in DeepLabCut's names and units."""
    with torch.inference_mode():
        maps = pipeline(images)
    named = dict(RAW[type(pipeline.head)](pipeline.head, maps.animals))
    return {f"bodypart/{name}": value for name, value in named.items()}


def _of_heatmap_head(head: Any, maps: Any) -> dict[str, Tensor]:
    outputs = {"heatmap": maps.heatmaps}
    if maps.offsets is not None:
        outputs["locref"] = (maps.offsets / head.cells_per_unit).flatten(1, 2)
    return outputs


RAW: dict[type, Callable[[Any, Any], dict[str, Tensor]]] = {DeepLabCutHeatmapHead: _of_heatmap_head}
