"""`--format dlclive` in DeepLabCut-Live itself: its PyTorch runner loads the file and predicts the same.

DLCPOSE_DEEPLABCUT_LIVE_PYTHON names a Python that has deeplabcut-live with torch: `pip install 'deeplabcut-live[pytorch]'`.
"""

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from dlcpose.checkpoint import read_checkpoint
from dlcpose.config.compose import compose
from dlcpose.model_formats.registry import ExportRequest, export_model
from dlcpose.predict import load
from tests.made_up_runs import frames_of
from tests.model_formats.made_up_checkpoints import write_checkpoint

PYTHON = os.environ.get("DLCPOSE_DEEPLABCUT_LIVE_PYTHON")
LIVE = """
import json, sys
import cv2
from dlclive import DLCLive
image = cv2.cvtColor(cv2.imread(sys.argv[2]), cv2.COLOR_BGR2RGB)
pose = DLCLive(sys.argv[1], model_type="pytorch", device="cpu", display=False).init_inference(image)
print("POSE", json.dumps(pose.tolist()))
"""
OVERRIDES = ("model=resnet_50", "head=deeplabcut_heatmap", "input=native")


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="DLCPOSE_DEEPLABCUT_LIVE_PYTHON names no Python with deeplabcut-live")
def test_live_predicts_what_the_checkpoint_does(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model.ckpt", compose(OVERRIDES), frames_of(4, animals=1))
    export_model("dlclive", ExportRequest(read_checkpoint(checkpoint), tmp_path / "live.pt"))
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])
    command = [str(PYTHON), "-c", LIVE, str(tmp_path / "live.pt"), str(tmp_path / "image.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    theirs = np.array(json.loads(next(line for line in done.stdout.splitlines() if line.startswith("POSE"))[5:]))
    (ours,) = load(checkpoint, device="cpu").predict([image])
    np.testing.assert_allclose(ours.keypoints_in_image[0], theirs[:, :2], atol=0.01)
    np.testing.assert_allclose(ours.keypoint_scores[0], theirs[:, 2].clip(0, 1), atol=1e-3)
