"""`--format dlclive` in DeepLabCut-Live itself: its PyTorch runner loads the file and predicts the same.

DLCPOSE_DEEPLABCUT_LIVE_PYTHON names a Python that has deeplabcut-live with torch: `pip install 'deeplabcut-live[pytorch]'`.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dlcpose.checkpoint import read_checkpoint
from dlcpose.config.compose import compose
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.crops import whole
from dlcpose.model_formats.registry import ExportRequest, export_model
from dlcpose.pipelines.deeplabcut_top_down import DeepLabCutTopDown
from dlcpose.predict import load
from dlcpose.structures.batch import collate
from dlcpose.structures.sample import PoseSample, labels_of
from tests.made_up_runs import frames_of
from tests.model_formats.made_up_checkpoints import write_checkpoint

PYTHON = os.environ.get("DLCPOSE_DEEPLABCUT_LIVE_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="DLCPOSE_DEEPLABCUT_LIVE_PYTHON names no Python with deeplabcut-live"),
]
BOXES = 2
LIVE = """
import json, sys
import cv2
from dlclive import DLCLive
image = cv2.imread(sys.argv[2])  # blue, green, red: as Live takes frames
pose = DLCLive(sys.argv[1], model_type="pytorch", device="cpu", display=False).init_inference(image)
print("POSE", json.dumps(pose.tolist()))
"""
LIVE_TOP_DOWN = """
import sys
import cv2, numpy as np, torch
from dlclive import DLCLive
image = cv2.imread(sys.argv[2])
count = int(sys.argv[5])
settings = {"bbox_cutoff": 0.0, "max_detections": count}
live = DLCLive(
    sys.argv[1], model_type="pytorch", device="cpu", display=False, single_animal=False, top_down_config=settings
)
pose, runner = live.init_inference(image), live.runner
with torch.inference_mode():
    rgb = image[..., ::-1].copy()
    found = runner.detector(runner.detector_transform(torch.from_numpy(rgb).permute(2, 0, 1))[None])[0]
    heatmaps = runner.model(torch.from_numpy(np.load(sys.argv[3])))["bodypart"]["heatmap"]
boxes, scores = found["boxes"][:count].numpy(), found["scores"][:count].numpy()
np.savez(sys.argv[4], pose=pose, boxes=boxes, scores=scores, heatmaps=heatmaps.numpy())
"""
ONE = ("model=resnet_50", "head=deeplabcut_heatmap", "input=native")
TWICE = [  # DeepLabCut's normalization before torchvision's own
    "detector.mean=[0.5995,0.568,0.5185]",
    "detector.std=[0.1145,0.112,0.1125]",
]
TOP_DOWN = (
    *("model=top_down_resnet_50", "pipeline=deeplabcut_top_down", "input=resize", "input.height=96", "input.width=96"),
    *("head=deeplabcut_heatmap", "head.kernels=[]", "head.strides=[]", "head.final_kernel=1"),
    *(
        "neck=identity",
        "neck.level=-1",
        "detector=ssdlite",
        "detector/boxes=padded_keypoints",
        "detector.pixel_shift=0.0",
    ),
    *("detector.threshold=0.001", f"detector.max_animals={BOXES}", *TWICE),
)


def live(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What DeepLabCut-Live says of the exported file and the image in a folder."""
    command = [str(PYTHON), "-c", script, str(folder / "live.pt"), str(folder / "image.png"), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done


def exported(folder: Path, overrides: Sequence[str], data: LabeledFrames) -> tuple[Path, np.ndarray]:
    """A checkpoint with random weights, exported, and a random image."""
    checkpoint = write_checkpoint(folder / "model.ckpt", compose(list(overrides)), data)
    export_model("dlclive", ExportRequest(read_checkpoint(checkpoint), folder / "live.pt"))
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    cv2.imwrite(str(folder / "image.png"), image[..., ::-1])
    return checkpoint, image


# side_head=[default] builds one where the data has something for it: here unique keypoints.
@pytest.mark.parametrize(
    ("overrides", "unique_points"), [((), 0), (("side_head=[deeplabcut_unique]",), 2)], ids=["alone", "side head"]
)
def test_live_predicts_what_the_checkpoint_does(overrides: Sequence[str], unique_points: int, tmp_path: Path) -> None:
    data = frames_of(4, animals=1, unique_points=unique_points)
    checkpoint, image = exported(tmp_path, (*ONE, *overrides), data)
    done = live(tmp_path, LIVE)
    theirs = np.array(json.loads(next(line for line in done.stdout.splitlines() if line.startswith("POSE"))[5:]))
    (ours,) = load(checkpoint, device="cpu").predict([image])
    np.testing.assert_allclose(ours.keypoints_in_image[0], theirs[:, :2], atol=0.01)
    np.testing.assert_allclose(ours.keypoint_scores[0], theirs[:, 2].clip(0, 1), atol=1e-3)


def test_live_finds_the_boxes_and_computes_the_crops_of_a_top_down_checkpoint(tmp_path: Path) -> None:
    """Live resizes crops by torch where DeepLabCut does it by OpenCV, so poses are compared by what a crop gives."""
    checkpoint, image = exported(tmp_path, TOP_DOWN, frames_of(4, animals=2))
    pipeline = load(checkpoint, device="cpu").pipeline
    assert isinstance(pipeline, DeepLabCutTopDown)
    crop = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "crop.npy", crop.numpy())
    live(tmp_path, LIVE_TOP_DOWN, str(tmp_path / "crop.npy"), str(tmp_path / "out.npz"), str(BOXES))
    with np.load(tmp_path / "out.npz") as results, torch.inference_mode():
        labels = labels_of("0", image.shape[:2], np.zeros((0, len(pipeline.skeleton), 2), np.float32))
        (detected,) = pipeline.detector.detect(collate([whole(PoseSample(labels, image))]))
        np.testing.assert_allclose(detected.boxes_in_frame, results["boxes"], atol=0.01)
        np.testing.assert_allclose(detected.scores, results["scores"], atol=1e-4)
        np.testing.assert_allclose(pipeline(crop).animals.heatmaps, results["heatmaps"], atol=1e-4)
        assert results["pose"].shape == (BOXES, len(pipeline.skeleton), 3)
