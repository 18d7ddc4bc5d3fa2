"""Exported to TorchScript: what a program without dlcpose gets of the file is what the model says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import dlcpose
from dlcpose.checkpoint import read_checkpoint
from dlcpose.model_formats.registry import ExportRequest, export_model
from dlcpose.structures.errors import CheckpointError, ConfigError
from tests.model_formats.made_up_checkpoints import CONFIGS, data_of, write_checkpoint


@pytest.mark.parametrize("name", ["native", "top_down"])
def test_file_alone_predicts_like_the_model(name: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "best.ckpt", CONFIGS[name](), data_of(name))
    output = tmp_path / ("out" if name == "top_down" else "model.ts")
    lines = export_model("torchscript", ExportRequest(read_checkpoint(checkpoint), output))
    assert "checked against torch" in lines[-1]
    extra = {"dlcpose.json": ""}
    path = output / "pose.ts" if name == "top_down" else output
    graph = torch.jit.load(str(path), _extra_files=extra)
    description = json.loads(extra["dlcpose.json"])
    assert description["steps"] == [{"kind": "single_animal"}]
    size = (description["input"]["height"], description["input"]["width"]) if name == "top_down" else (96, 64)
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    keypoints, scores = graph(image.float() if name == "top_down" else image)
    assert scores.shape == keypoints.shape[:2] == (1, len(description["skeleton"]["names"]))
    if name == "native":
        (found,) = dlcpose.load(checkpoint, device="cpu").predict([image[0].permute(1, 2, 0).numpy()])
        np.testing.assert_allclose(keypoints[0].detach().numpy(), found.keypoints_in_image[0], atol=1e-3)


@pytest.mark.parametrize(("name", "output"), [("native", "model.txt"), ("native", "folder"), ("top_down", "model.ts")])
def test_another_ending_is_refused(name: str, output: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "best.ckpt", CONFIGS[name](), data_of(name))
    with pytest.raises(ConfigError, match="--output"):
        export_model("torchscript", ExportRequest(read_checkpoint(checkpoint), tmp_path / output))


def test_it_is_not_read(tmp_path: Path) -> None:
    """TorchScript can hold any code."""
    path = tmp_path / "model.ts"
    torch.jit.trace(torch.nn.ReLU(), (torch.zeros(1),)).save(str(path))
    with pytest.raises(CheckpointError):
        dlcpose.load(path)
