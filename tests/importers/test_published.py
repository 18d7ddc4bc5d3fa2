"""Published weights: recognized by their keys, complete, and computed as an independent implementation computes them.

The files are made here, with random weights in the layouts that MMPose and ViTPose publish.
"""

import functools
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import dlcpose
from dlcpose.backbones.vit import VitBackbone
from dlcpose.backbones.vit_weights import vit_weights
from dlcpose.codecs.peaks import find_global_peaks, refine_dark
from dlcpose.config.compose import compose
from dlcpose.heads.heatmap import HeatmapMaps
from dlcpose.importers.imported import ImportedModel, write_checkpoint
from dlcpose.importers.keypoint_sets import AP10K, KEYPOINT_SETS
from dlcpose.importers.layout import LAYOUTS, PublishedFile, read_published
from dlcpose.importers.layouts.mmpose import MmposeResnet
from dlcpose.importers.source import read_source
from dlcpose.instantiate import Instantiator
from dlcpose.predict import Predictor
from dlcpose.structures.errors import CheckpointError, DataError
from dlcpose.structures.weights_file import read_weights_file

IMAGE = torch.rand((1, 3, 256, 256), generator=torch.Generator().manual_seed(0))


def deconvolution_head(channels: int, keypoints: int, deconvolutions: int) -> dict[str, nn.Sequential]:
    """MMPose's HeatmapHead."""
    layers: list[nn.Module] = []
    for _ in range(deconvolutions):
        layers += [nn.ConvTranspose2d(channels, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
        channels = 256
    return {"deconv_layers": nn.Sequential(*layers), "final_layer": nn.Conv2d(channels, keypoints, 1)}


def with_statistics(module: nn.Module) -> nn.Module:
    for name, value in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    return module.eval()


def state_of(backbone: nn.Module, head: Mapping[str, nn.Module], prefix: str) -> dict[str, Tensor]:
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    for part, module in head.items():
        state |= {f"{prefix}{part}.{name}": value for name, value in module.state_dict().items()}
    return state


def imported(path: Path, tmp_path: Path, **options: object) -> tuple[ImportedModel, Predictor]:
    model = read_source(path, **options)  # type: ignore[arg-type]
    write_checkpoint(model, tmp_path / "model.ckpt")
    return model, dlcpose.load(tmp_path / "model.ckpt", device="cpu")


@pytest.fixture
def resnet_file() -> PublishedFile:
    """Names and shapes of ResNet-50 with heatmaps, without values."""
    with torch.device("meta"):
        network = torchvision.models.resnet50()
        del network.fc
        state = state_of(network, deconvolution_head(2048, 17, 3), "head.")
    return PublishedFile(Path("res50_ap10k_256x256.pth"), state)


@pytest.mark.slow
@torch.no_grad()
def test_mmpose_resnet_computes_as_torchvisions_with_its_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = with_statistics(torchvision.models.resnet50())
    network.fc = nn.Identity()
    head = {name: with_statistics(part) for name, part in deconvolution_head(2048, 17, 3).items()}
    facts = {"dataset_meta": {"dataset_name": "ap10k", "sigmas": np.ones(17, np.float32), "weight": np.float64(1.0)}}
    path = tmp_path / "res50.pth"
    content = {"meta": facts, "state_dict": state_of(network, head, "keypoint_head.")}
    torch.save(content, path, _use_new_zipfile_serialization=False)  # as MMPose before 1.0 published its models
    model, predictor = imported(path, tmp_path)
    assert model.skeleton == AP10K
    assert "Apache" in str(model.license)
    stages = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    features = network.layer4(network.layer3(network.layer2(network.layer1(stages(IMAGE)))))
    theirs = head["final_layer"](head["deconv_layers"](features))
    ours = predictor.pipeline(IMAGE)[0]
    torch.testing.assert_close(ours.heatmaps, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_mmpose_hrnet_reads_the_finest_branch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = with_statistics(timm.create_model("hrnet_w18", features_only=True, feature_location=""))
    head = deconvolution_head(18, 17, 0)
    state = state_of(network, {"final_layer": head["final_layer"]}, "head.")
    # MMPose's last module fuses into the finest branch alone.
    state = {name: value for name, value in state.items() if not fuses_elsewhere(name)}
    torch.save({"state_dict": state}, tmp_path / "hrnet_w18_ap10k.pth")
    _, predictor = imported(tmp_path / "hrnet_w18_ap10k.pth", tmp_path)
    theirs = head["final_layer"](network(IMAGE)[1])
    torch.testing.assert_close(predictor.pipeline(IMAGE)[0].heatmaps, theirs, atol=1e-4, rtol=1e-4)


def fuses_elsewhere(name: str) -> bool:
    return name.startswith("backbone.stage4.2.fuse_layers.") and ".fuse_layers.0." not in name


def test_what_keypoints_it_has_is_asked_where_the_file_does_not_say(resnet_file: PublishedFile) -> None:
    unnamed = replace(resnet_file, path=Path("best.pth"))
    with pytest.raises(DataError, match="--keypoints ap10k or --keypoints coco"):
        MmposeResnet.read(unnamed)
    assert MmposeResnet.read(replace(unnamed, keypoints="ap10k")).skeleton == AP10K
    pretrained = replace(unnamed, path=Path("rtmpose-m_simcc-ap10k_pt-aic-coco_210e.pth"))
    assert MmposeResnet.read(pretrained).skeleton == AP10K
    with pytest.raises(DataError, match="--keypoints animalpose"):
        MmposeResnet.read(replace(unnamed, keypoints="animalpose"))


def test_a_cell_of_mmposes_heatmaps_stands_for_its_first_pixel(resnet_file: PublishedFile) -> None:
    model = MmposeResnet.read(resnet_file)
    assert not model.left_over
    assert {"head=simple_baseline", "head.deconvolutions=3", "pipeline.crops.margin=0.125"} <= set(model.overrides)
    config = compose(list(model.overrides))
    head = Instantiator()(config["head"], "head")(2048, 32, AP10K)
    maps = torch.zeros(1, 17, 64, 64)
    maps[..., 20, 30], maps[..., 20, 31] = 1.0, 0.5  # MMPose: (30.25, 20) cells of 4 px
    (pose,) = head.decode(HeatmapMaps(maps, None))
    assert pose.keypoints_in_crop[0, 0].tolist() == [121, 80]


def test_an_rtmpose_is_recognized_with_its_size(tmp_path: Path) -> None:
    names = {
        **{"backbone.stem.0.conv.weight": (24, 3, 3, 3), "head.final_layer.weight": (17, 768, 7, 7)},
        **{"head.mlp.0.g": (1,), "head.mlp.1.weight": (256, 64), "head.gau.uv.weight": (1152, 256)},
        **{"head.gau.gamma": (2, 128), "head.cls_x.weight": (512, 256), "head.cls_y.weight": (512, 256)},
    }
    torch.save({"state_dict": {name: torch.zeros(shape) for name, shape in names.items()}}, tmp_path / "ap10k.pth")
    overrides = read_published(tmp_path / "ap10k.pth").overrides
    assert {"model=rtmpose_m", "backbone.widen=0.75", "input.height=256", "head.bin_shift=-0.5"} <= set(overrides)
    assert {"head.width=256", "head.expansion=2", "head.attended=128", "head.kernel=7"} <= set(overrides)


def test_experts_become_the_outputs_of_a_plain_layer() -> None:
    torch.manual_seed(0)
    shared, experts = nn.Linear(8, 6), [nn.Linear(8, 2) for _ in range(4)]
    block = "encoder.layer.0.mlp."
    state = {f"{block}fc2.{name}": value for name, value in shared.state_dict().items()}
    for place, expert in enumerate(experts):
        state |= {f"{block}experts.{place}.{name}": value for name, value in expert.state_dict().items()}
    for part in ("query", "key", "value"):
        state[f"encoder.layer.0.attention.attention.{part}.bias"] = torch.full((2,), float(len(part)))
    ours, left_out = vit_weights(state, 3)
    inputs = torch.randn(5, 8)
    whole = nn.functional.linear(inputs, ours["blocks.0.mlp.fc2.weight"], ours["blocks.0.mlp.fc2.bias"])
    torch.testing.assert_close(whole, torch.cat([shared(inputs), experts[3](inputs)], dim=1))
    assert len(left_out) == 6
    assert ours["blocks.0.attn.qkv.bias"].tolist() == [5, 5, 3, 3, 5, 5]
    for wrong in (None, 4):
        with pytest.raises(DataError, match="experts of 4 data sets"):
            vit_weights(state, wrong)
    with pytest.raises(DataError, match="have no experts"):
        vit_weights({"norm.weight": torch.zeros(1)}, 0)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("is_simple", [False, True])
def test_vitpose_plus_predicts_as_transformers_does(is_simple: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    backbone = transformers.VitPoseBackboneConfig(
        **{"hidden_size": 384, "num_experts": 6, "part_features": 96, "out_indices": [12]}
    )
    config = transformers.VitPoseConfig(backbone_config=backbone, use_simple_decoder=is_simple)
    config.num_labels = 17
    network = with_statistics(transformers.VitPoseForPoseEstimation(config))
    for value in network.parameters():  # its random weights are too small for peaks to be told apart
        value.mul_(3)
    network.save_pretrained(tmp_path)
    model, predictor = imported(tmp_path / "model.safetensors", tmp_path, dataset_index=0)
    assert model.skeleton == KEYPOINT_SETS["coco"]
    assert set(model.not_taken.values()) == {"of other data sets"}
    images = IMAGE[..., :192]
    outputs = network(images, dataset_index=torch.tensor([0]))
    maps = predictor.pipeline(images)[0]
    # LayerNorm's epsilon is 1e-6 in timm and ViTPose, 1e-12 in transformers.
    largest = float(outputs.heatmaps.abs().max())
    torch.testing.assert_close(maps.heatmaps, outputs.heatmaps, atol=1e-4 * max(largest, 1.0), rtol=0)
    # The whole crop as the box: what transformers maps back to are the crop's own pixels, but for its scale of 1.25.
    processor = transformers.VitPoseImageProcessorPil()
    outputs.heatmaps = outputs.heatmaps / largest  # above 50 transformers cuts values off, which no trained map reaches
    box = [0.1 * 191, 0.1 * 255, 0.8 * 191, 0.8 * 255]
    theirs = processor.post_process_pose_estimation(outputs, boxes=[[box]])[0][0]
    head = predictor.pipeline.head
    head.refinement = functools.partial(refine_dark, sigma=0.8)  # transformers' blur
    (ours,) = head.decode(HeatmapMaps(outputs.heatmaps, None))
    in_crop = _to_crop(theirs["keypoints"].numpy(), box)
    # Random maps have peaks at the border, where the blurs go on differently, and flat ones, which a step leaves far behind.
    cells = find_global_peaks(outputs.heatmaps)[0][0].numpy()  # (K, 2)
    inside = ((cells > 6) & (cells < [41, 57])).all(axis=1) & (np.abs(in_crop - 4.05 * cells) < 6).all(axis=1)
    assert inside.sum() >= 3
    np.testing.assert_allclose(ours.keypoints_in_crop[0].numpy()[inside], in_crop[inside], atol=0.05)
    with pytest.raises(DataError, match="experts of AP-10K, but a head of COCO alone"):
        read_source(tmp_path / "model.safetensors", dataset_index=3)
    trunk = VitBackbone(
        "vit_small_patch16_224",
        checkpoint_path=str(tmp_path / "model.safetensors"),
        dataset_index=3,
        options={"num_heads": 12},
    ).eval()
    theirs_features = network.backbone(images, dataset_index=torch.tensor([3])).feature_maps[-1]
    torch.testing.assert_close(trunk(images)[0].flatten(2).transpose(1, 2), theirs_features, atol=1e-3, rtol=1e-3)


def _to_crop(points: np.ndarray, box: list[float]) -> np.ndarray:
    """Where points in the image lie in a crop of 256x192 around a box, by UDP: from its border to its border."""
    center = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])
    height = max(box[3], box[2] * 256 / 192)
    size = np.array([height * 192 / 256, height]) * 1.25
    return np.asarray((points - center + size / 2) / size * [191, 255])


def test_vitposes_own_file_has_the_head_of_each_data_set(tmp_path: Path) -> None:
    state: dict[str, Tensor] = {}
    width = 384
    state["backbone.cls_token"], state["backbone.pos_embed"] = torch.zeros(1, 1, width), torch.zeros(1, 193, width)
    state["backbone.patch_embed.proj.weight"] = torch.zeros(width, 3, 16, 16)
    for block in range(12):
        state[f"backbone.blocks.{block}.mlp.fc2.weight"] = torch.zeros(3, 4)
        for expert in range(6):
            state[f"backbone.blocks.{block}.mlp.experts.{expert}.weight"] = torch.zeros(1, 4)
    state["keypoint_head.deconv_layers.0.weight"] = torch.zeros(width, 256, 4, 4)
    state["keypoint_head.final_layer.weight"] = torch.zeros(17, 256, 1, 1)
    for place, keypoints in enumerate((14, 16, 17, 17, 133)):
        state[f"associate_keypoint_heads.{place}.deconv_layers.0.weight"] = torch.zeros(width, 256, 4, 4)
        state[f"associate_keypoint_heads.{place}.final_layer.weight"] = torch.full((keypoints, 256, 1, 1), float(place))
    torch.save({"state_dict": state}, tmp_path / "vitpose+_small.pth")
    model = read_published(tmp_path / "vitpose+_small.pth", dataset_index=3)
    assert model.skeleton == AP10K
    assert bool((model.weights["head.heatmap_layers.6.weight"] == 2).all())
    assert not model.left_over
    for heads, says in ((6, None), (0, "a whole number from 1"), ('6, "num_attention_heads": 12', "more than once")):
        (tmp_path / "config.json").write_text(f'{{"backbone_config": {{"num_attention_heads": {heads}}}}}')
        with nullcontext() if says is None else pytest.raises(DataError, match=rf"config\.json: .*{says}"):
            model = read_published(tmp_path / "vitpose+_small.pth", dataset_index=3)
    assert "backbone.options.num_heads=6" in model.overrides
    (tmp_path / "config.json").unlink()
    with pytest.raises(DataError, match="experts of 6 data sets"):
        read_published(tmp_path / "vitpose+_small.pth")
    with pytest.raises(DataError, match="no such model"):
        read_published(tmp_path / "vitpose+_small.pth", dataset_index=5)


def test_a_backbone_alone_is_told_how_to_be_used(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1), "layer4.0.conv1.weight": torch.zeros(1)}, tmp_path / "resnet50.pth")
    with pytest.raises(DataError, match=r"backbone=timm backbone\.name=resnet50"):
        read_source(tmp_path / "resnet50.pth")


def test_a_file_of_deeplabcut_2_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "snapshot-1030000.index").write_bytes(b"\0")
    with pytest.raises(DataError, match="TensorFlow model of DeepLabCut 2"):
        read_source(tmp_path / "snapshot-1030000.index")


def test_of_an_unknown_layout_the_nearest_are_named(tmp_path: Path) -> None:
    torch.save({"head.final_layer.weight": torch.zeros(1), "backbone.x": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(DataError, match="Nearest layouts: ViTPose's own"):
        read_source(tmp_path / "odd.pth")
    assert all(layout.title for layout in LAYOUTS.load().values())


class Unknown:
    """Stands for any object that a file may hold."""


def test_files_that_are_cut_short_or_hold_objects_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save({"state_dict": {"a": torch.zeros(1000)}, "meta": {"numbers": np.arange(3)}}, whole)
    assert set(read_weights_file(whole).weights) == {"a"}
    (tmp_path / "half.pth").write_bytes(whole.read_bytes()[:2000])
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": Unknown()}, tmp_path / "objects.pth")
    (tmp_path / "half.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    for name, expected in (
        ("half.pth", "cut short"),
        ("half.safetensors", "cut short"),
        ("objects.pth", "could run code"),
    ):
        with pytest.raises(CheckpointError, match=expected):
            read_source(tmp_path / name)
