"""`dlcpose attention` on checkpoints of small models of each kind that has attention, and of one that has none."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dlcpose.cli.app import build_app
from dlcpose.cli.attention import attention_maps
from dlcpose.predict import load
from dlcpose.structures.errors import ConfigError
from tests.made_up_runs import checkpoint_of, frames_of, option, tiny_config

LOSS = option("loss", "binary_cross_entropy")
SIDE = 64
MODELS: dict[str, dict[str, Any]] = {
    "token": {
        "neck": {**option("neck", "identity"), "level": 0},
        "head": {
            **option("head", "tokenpose"),
            "heatmap_loss": LOSS,
            "width": 16,
            "layers": 2,
            "heads": 2,
            "hidden": 8,
        },
    },
    "encoder": {
        "neck": {**option("neck", "attention"), "level": 1, "width": 16, "layers": 2, "heads": 2, "feed_forward": 16},
        "head": {**option("head", "deconvolution_single"), **option("head", "deconvolution"), "heatmap_loss": LOSS},
    },
    "vit": {
        "backbone": {
            **option("backbone", "vit_s"),
            **{"table": [SIDE, SIDE], "options": {"embed_dim": 16, "depth": 2, "num_heads": 2}},
        },
        "neck": option("neck", "identity"),
        "head": {**option("head", "interpolation"), "heatmap_loss": LOSS},
    },
    "none": {},
}
for settings in MODELS.values():
    settings.get("head", {}).pop("defaults", None)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: checkpoint_of(tmp_path_factory.mktemp(name), tiny_config(**settings), frames_of(2))
        for name, settings in MODELS.items()
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, data = tmp_path_factory.mktemp("pictures"), frames_of(2)
    paths = [folder / f"{number}.png" for number in range(2)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), data.read_image(number)[..., ::-1])
    return paths


def answer(*arguments: str | Path) -> Any:
    return CliRunner().invoke(build_app(), ["attention", *map(str, arguments)])


@pytest.mark.parametrize("name", ["token", "encoder", "vit"])
def test_the_maps_are_the_weights_of_the_last_layer(name: str, checkpoints: dict[str, Path]) -> None:
    pipeline = load(checkpoints[name], device="cpu").pipeline
    image = frames_of(1).read_image(0)
    crop, keypoints_in_crop, weights = attention_maps(pipeline, "frame", image, -1)
    assert crop.image.shape == (SIDE, SIDE, 3)
    assert weights.shape[0] == len(keypoints_in_crop) == len(pipeline.skeleton)
    assert (weights >= 0).all()
    assert (weights.sum(axis=(1, 2)) <= 1 + 1e-4).all()
    np.testing.assert_array_equal(attention_maps(pipeline, "frame", image, 1)[2], weights)
    assert not np.allclose(attention_maps(pipeline, "frame", image, 0)[2], weights)
    with torch.inference_mode():
        (prediction,) = load(checkpoints[name], device="cpu").predict([image])
    np.testing.assert_allclose(
        keypoints_in_crop, prediction.keypoints_in_image[0], atol=1e-3
    )  # the canvas is the image


def test_a_picture_of_each_image_and_keypoint_is_written(
    checkpoints: dict[str, Path], pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "there" / "looked.png"
    names = load(checkpoints["token"], device="cpu").skeleton.names[:2]
    options = [word for name in names for word in ("--keypoint", name)]
    done = answer(checkpoints["token"], *pictures, *options, "--output", out)
    assert done.exit_code == 0, done.output
    assert f"{out}: " in done.output
    both, alone = cv2.imread(str(out)), tmp_path / "alone.png"
    assert answer(checkpoints["token"], pictures[0], *options, "--output", alone).exit_code == 0
    one = cv2.imread(str(alone))
    assert both.shape == (2 * one.shape[0], *one.shape[1:])
    np.testing.assert_array_equal(both[: len(one)], one)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("token", ["--keypoint", "wing"], "--keypoint"),
        ("token", ["--layer", "2"], "--layer 2: TokenPoseHead"),
        ("encoder", ["--layer", "-3"], "--layer -3: AttentionEncoder"),
        ("none", [], "attention: "),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    name: str, arguments: list[str], said: str, checkpoints: dict[str, Path], pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "nothing.png"
    done = answer(checkpoints[name], pictures[0], *arguments, "--output", out)
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)
    assert not out.exists()
