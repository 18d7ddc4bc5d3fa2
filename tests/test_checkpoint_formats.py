"""One tiny checkpoint of each format there has been is kept, and read; a newer one is refused."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dlcpose
from dlcpose.checkpoint import FORMAT, read_checkpoint
from dlcpose.structures.errors import CheckpointError

KEPT = Path(__file__).parent / "checkpoints"


def unpacked(number: int, folder: Path) -> Path:
    """The checkpoint of a format; its weights are a pattern, so that it packs to a few kilobytes."""
    path = folder / f"format_{number}.ckpt"
    path.write_bytes(gzip.decompress((KEPT / f"{path.name}.gz").read_bytes()))
    return path


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_every_format_is_read_and_predicts(number: int, tmp_path: Path) -> None:
    predictor = dlcpose.load(unpacked(number, tmp_path), device="cpu")
    (pose,) = predictor.predict([np.full((48, 64, 3), 128, np.uint8)])
    assert pose.keypoints_in_image.shape == (1, len(predictor.skeleton), 2)
    assert np.isfinite(pose.keypoints_in_image).all()


@pytest.mark.parametrize("found", [FORMAT + 1, 0, str(FORMAT), True, None, [FORMAT]])
@pytest.mark.parametrize("versions", [{"dlcpose": "9.1"}, "x", None, {"dlcpose": ["x"] * 1000}])
def test_another_format_is_refused_in_one_line(found: Any, versions: Any, tmp_path: Path) -> None:
    path = unpacked(FORMAT, tmp_path)
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {}
    content["dlcpose"] |= {"format": found, "versions": versions}
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=f"expected checkpoint format {FORMAT}, got ") as caught:
        read_checkpoint(path)
    assert len(str(caught.value)) < 400
