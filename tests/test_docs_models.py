"""docs/deeplabcut_models.md and docs/published_models.md word for word, on files of random weights in these layouts."""

import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from dlcpose.deeplabcut_layout.parts.rtmcc_head import NAMES
from dlcpose.importers.keypoint_sets import AP10K
from dlcpose.importers.superanimal import BIRD, QUADRUPED
from tests.cli.test_app import dlcpose
from tests.datasets.numbered_videos import write_numbered
from tests.datasets.test_deeplabcut import write_shuffle
from tests.docs_pages import commands_of, held_elsewhere
from tests.importers import layouts
from tests.importers.test_published import deconvolution_head, state_of
from tests.importers.test_superanimal import resnet_snapshot
from tests.made_up_runs import pipeline_of
from tests.shells import SHORT, shell

pytestmark = pytest.mark.slow  # whole networks of published sizes


def commands_here(page: str) -> list[str]:
    """Those that need no DeepLabCut."""
    return [line for line in commands_of(page) if held_elsewhere(line) is None]


def follow(commands: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *more: str) -> str:
    """Run commands one after the other; more: for those of `python`. What they printed."""
    printed = ""
    for command in commands:
        program, *arguments = shlex.split(command, comments=True)
        if program == "dlcpose":
            answer = dlcpose(capsys, monkeypatch, *arguments)
        else:
            given = [each for each in more if each.split("=")[0] not in command]
            answer = shell(*arguments, *(given if "train.py" in command else ()))
        assert answer.code == 0, (command, answer.err)
        printed += answer.out
    return printed


def test_the_page_on_deeplabcuts_models_can_be_followed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = ("--height", "64", "--width", "64", "--frames", "12", "--videos", "2")
    assert dlcpose(capsys, monkeypatch, "render", "PROJECT", *size).code == 0
    names = re.search(r"bodyparts:\n((?:- .*\n)+)", (here / "PROJECT" / "config.yaml").read_text())
    assert names
    scorer = re.search(r"scorer: (\S+)", (here / "PROJECT" / "config.yaml").read_text())
    assert scorer
    shuffle = write_shuffle(here / "PROJECT", "95shuffle1", range(8), range(8, 12))
    (shuffle.parent / "CollectedData_Ada.csv").rename(shuffle.parent / f"CollectedData_{scorer[1]}.csv")
    bodyparts = [line[2:] for line in names[1].splitlines()]
    monkeypatch.setattr(layouts, "BODYPARTS", bodyparts)
    layouts.write(here / "MODEL_FOLDER")
    write_numbered(here / "cage1.mp4", 4, size=(64, 64))
    torch.save({"model": hrnet_snapshot(len(QUADRUPED))}, here / "superanimal_quadruped_hrnet_w32.pt")
    with torch.device("cpu"):
        detector = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_fpn(
            weights=None, weights_backbone=None, num_classes=2
        )
    state = {f"model.{name}": value for name, value in detector.state_dict().items() if "num_batches" not in name}
    torch.save({"model": state}, here / "superanimal_quadruped_fasterrcnn_mobilenet_v3_large_fpn.pt")
    commands = commands_here("deeplabcut_models.md")
    assert len(commands) == 8
    printed = follow(commands, capsys, monkeypatch)
    assert (here / "cage1.poses.h5").is_file()
    assert (here / "exported" / "train" / "pytorch_config.yaml").is_file()
    training = next(line.split("train on: ")[1] for line in printed.splitlines() if "train on: " in line)
    training = re.sub(r'"?dataset\.root=[^\s"]+"?', "dataset.root=PROJECT", training)
    follow([training], capsys, monkeypatch, *SHORT)


def test_the_page_on_published_models_can_be_followed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(here / "photos")
    torch.manual_seed(0)
    torch.save({"state_dict": rtmpose()}, here / "rtmpose-m_simcc-ap10k_pt-aic-coco_210e-256x256-7a041aa1_20230206.pth")
    resnet = torchvision.models.resnet50()
    resnet.fc = nn.Identity()
    state = state_of(resnet, deconvolution_head(2048, 17, 3), "keypoint_head.")
    torch.save({"state_dict": state}, here / "res50_ap10k_256x256-35760eb8_20211029.pth")
    torch.save({"state_dict": vitpose()}, here / "vitpose+_small.pth")
    save_file(as_transformers(vitpose()), here / "model.safetensors")
    bird = {name: torch.randn(value.shape) * 0.01 for name, value in resnet_snapshot(len(BIRD)).items()}
    torch.save({"model": bird}, here / "superanimal_bird_resnet_50.pt")
    detector = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=2
    )
    torch.save(
        {"model": {f"model.{name}": value for name, value in detector.state_dict().items()}},
        here / "superanimal_bird_ssdlite.pt",
    )
    torch.save(torchvision.models.resnet18().state_dict(), here / "resnet18.pth")
    commands = commands_here("published_models.md")
    assert len(commands) == 7
    printed = follow(commands, capsys, monkeypatch, *SHORT)
    assert "not taken: " in printed
    assert "license: Apache-2.0" in printed


def hrnet_snapshot(keypoints: int) -> dict[str, Tensor]:
    network = timm.create_model("hrnet_w32", features_only=True, feature_location="")
    weights = {f"backbone.model.{name}": value for name, value in network.state_dict().items()}
    head = nn.ConvTranspose2d(32, keypoints, 1)
    return weights | {f"heads.bodypart.heatmap_head.deconv_layers.0.{n}": v for n, v in head.state_dict().items()}


def rtmpose() -> dict[str, Tensor]:
    """Of the smallest size there is, so that the test is short; built by dlcpose, named as MMPose names it."""
    from dlcpose.config.compose import compose
    from tests.made_up_runs import frames_of

    size = ("backbone.widen=0.375", "backbone.deepen=0.167", "input.height=256", "input.width=256")
    data = frames_of(4, animals=1)
    pipeline = pipeline_of(compose(["model=rtmpose_s", *size]), data, to_train=False)
    theirs = {}
    for name, value in pipeline.state_dict().items():
        renamed = name.replace("backbone.network.", "backbone.")
        for their, our in NAMES:
            renamed = renamed.replace(f"head.{our}", f"head.{their}") if name.startswith(f"head.{our}") else renamed
        theirs[renamed] = value
    kernel = theirs["head.final_layer.weight"]
    theirs["head.final_layer.weight"] = torch.randn(len(AP10K), *kernel.shape[1:]) * 0.01
    theirs["head.final_layer.bias"] = torch.zeros(len(AP10K))
    return {name: value for name, value in theirs.items() if name.startswith(("backbone.", "head."))}


def vitpose() -> dict[str, Tensor]:
    """ViTPose+-S of its repository: six experts, six heads."""
    network = timm.create_model("vit_small_patch16_224", img_size=(256, 192), num_classes=0, num_heads=12)
    state = {}
    for name, value in network.state_dict().items():
        if ".mlp.fc2." in name:
            state[name] = value[:288]
            for expert in range(6):
                state[name.replace("fc2", f"experts.{expert}")] = value[288:].clone()
        else:
            state["last_norm." + name[5:] if name.startswith("norm.") else name] = value
    state = {f"backbone.{name}": value for name, value in state.items()}
    for place, keypoints in enumerate((17, 14, 16, 17, 17, 133)):
        prefix = f"associate_keypoint_heads.{place - 1}." if place else "keypoint_head."
        for part, module in deconvolution_head(384, keypoints, 2).items():
            state |= {f"{prefix}{part}.{name}": value for name, value in module.state_dict().items()}
    return state


def as_transformers(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same as transformers names it, which keeps one head."""
    state = {}
    renamed = (
        *(("backbone.pos_embed", "backbone.embeddings.position_embeddings"), ("blocks.", "encoder.layer.")),
        *(("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("norm1", "layernorm_before")),
        *(("norm2", "layernorm_after"), ("attn.proj", "attention.output.dense"), ("last_norm", "layernorm")),
        *(("keypoint_head.deconv_layers.0", "head.deconv1"), ("keypoint_head.deconv_layers.1", "head.batchnorm1")),
        *(("keypoint_head.deconv_layers.3", "head.deconv2"), ("keypoint_head.deconv_layers.4", "head.batchnorm2")),
        ("keypoint_head.final_layer", "head.conv"),
    )
    for name, value in theirs.items():
        if name.startswith("associate_") or name == "backbone.cls_token":
            continue
        new = name
        for old, word in renamed:
            new = new.replace(old, word)
        if ".attn.qkv." in new:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[new.replace("attn.qkv", f"attention.attention.{part}")] = third.clone()
        else:
            state[new] = value.clone()
    return state


def photos(folder: Path) -> None:
    """Images and labels as AP-10K has them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(24):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (64, 64, 3), np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
        points = np.concatenate([rng.uniform(8, 56, (len(AP10K), 2)), np.full((len(AP10K), 1), 2)], axis=1)
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "keypoints": points.ravel().tolist()}
            | {"num_keypoints": len(AP10K), "bbox": [8, 8, 48, 48], "area": 2304, "iscrowd": 0}
        )
    category = {"id": 1, "name": "dog", "keypoints": list(AP10K.names), "skeleton": []}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "annotations.json").write_text(json.dumps(content))
