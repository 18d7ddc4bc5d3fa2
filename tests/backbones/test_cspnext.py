"""CSPNeXt: published sizes and names of layers, and its layers against their definitions."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from dlcpose.backbones.cspnext import ChannelAttention, CspLayer, CspNextBackbone, SpatialPyramidPooling
from dlcpose.config.compose import compose
from dlcpose.instantiate import Instantiator
from dlcpose.structures.errors import ConfigError

# Counted by instantiating DeepLabCut 3's backbones, whose weights ours read as they are.
SIZES = {"cspnext_s": (4_378_320, 512), "cspnext_m": (12_279_432, 768), "cspnext_x": (47_569_560, 1280)}
TINY = {"widen": 0.125, "deepen": 0.33}


def option_of(name: str, **settings: object) -> CspNextBackbone:
    backbone: CspNextBackbone = Instantiator()({**compose([f"model={name}"])["backbone"], **settings}, "backbone")
    return backbone


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        backbone = option_of(name)
    assert (sum(weight.numel() for weight in backbone.parameters()), backbone.channels[-1]) == SIZES[name]
    assert backbone.strides == (4, 8, 16, 32)


def test_layers_are_named_as_in_the_published_weights() -> None:
    with torch.device("meta"):
        names = set(CspNextBackbone(widen=0.75, deepen=0.67).network.state_dict())
    known = {
        *(f"stem.{place}.conv.weight" for place in range(3)),
        *(f"stage{stage}.0.norm.running_var" for stage in range(1, 5)),
        *(f"stage{stage}.1.blocks.3.conv2.depthwise_conv.conv.weight" for stage in (2, 3)),
        *(f"stage4.1.conv{place}.conv.weight" for place in (1, 2)),
        *(f"stage4.2.{part}.norm.weight" for part in ("main_conv", "short_conv", "final_conv")),
        "stage4.2.blocks.1.conv2.pointwise_conv.norm.bias",
        "stage4.2.attention.fc.bias",
    }
    assert known <= names
    assert not [name for name in names if "conv.bias" in name]


def test_weights_are_read_from_a_checkpoint_of_a_whole_model(tmp_path: Path) -> None:
    torch.manual_seed(1)
    there = CspNextBackbone(**TINY)
    state = {f"backbone.{name}": value for name, value in there.network.state_dict().items()}
    torch.save({"model": {**state, "heads.bodypart.final_layer.bias": torch.zeros(3)}}, tmp_path / "snapshot.pt")
    torch.manual_seed(2)
    here = CspNextBackbone(**TINY, checkpoint_path=str(tmp_path / "snapshot.pt"))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(here.eval()(images)[-1], there.eval()(images)[-1])


def test_a_batch_gives_what_its_images_give_alone() -> None:
    torch.manual_seed(0)
    backbone, images = CspNextBackbone(**TINY).eval(), torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        for together, alone in zip(backbone(images), backbone(images[1:]), strict=True):
            torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)


def test_maps_finer_than_finest_stride_are_left_out() -> None:
    backbone = CspNextBackbone(**TINY, finest_stride=16)
    assert (backbone.strides, backbone.channels, len(backbone(torch.zeros(1, 3, 64, 64)))) == ((16, 32), (64, 128), 2)


def test_gradients_reach_every_weight() -> None:
    torch.manual_seed(0)
    backbone = CspNextBackbone(**TINY)
    torch.stack([level.square().mean() for level in backbone(torch.randn(2, 3, 64, 64))]).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in backbone.parameters())


def test_the_pyramid_pools_5_9_and_13_cells() -> None:
    torch.manual_seed(0)
    pyramid, features = SpatialPyramidPooling(8).eval(), torch.randn(1, 8, 17, 15)
    with torch.no_grad():
        narrow = pyramid.conv1(features)
        pooled = [functional.max_pool2d(narrow, side, stride=1, padding=side // 2) for side in (5, 9, 13)]
        torch.testing.assert_close(pyramid(features), pyramid.conv2(torch.cat((narrow, *pooled), dim=1)))


def test_attention_scales_channels_by_0_to_1() -> None:
    torch.manual_seed(0)
    attention, features = ChannelAttention(6), torch.randn(2, 6, 5, 4)
    weights = ((features.mean(dim=(2, 3)) @ attention.fc.weight[:, :, 0, 0].T + attention.fc.bias) / 6 + 0.5).clamp(
        0, 1
    )
    torch.testing.assert_close(attention(features), features * weights[..., None, None])


@pytest.mark.parametrize("residual", [True, False])
def test_only_residual_layers_pass_on_their_input(residual: bool) -> None:
    torch.manual_seed(0)
    layer, features = CspLayer(8, 2, residual=residual).eval(), torch.randn(1, 8, 6, 6)
    for block in layer.blocks:
        block.conv2.pointwise_conv.norm.weight.data.zero_()  # silences what the block adds
    with torch.no_grad():
        through = layer.blocks(layer.main_conv(features))
        expected = layer.main_conv(features) if residual else torch.zeros_like(through)
    torch.testing.assert_close(through, expected)


@pytest.mark.parametrize("settings", [{"widen": 0.01}, {"deepen": 0.0}, {"widen": -1.0}])
def test_invalid_sizes_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"widen|deepen"):
        option_of("cspnext_s", **settings)


def test_only_the_last_stage_has_no_residuals() -> None:
    network = CspNextBackbone(**TINY).network
    stages = [network.stage1[1], network.stage2[1], network.stage3[1], network.stage4[2]]
    assert [{block.residual for block in stage.blocks} for stage in stages] == [{True}, {True}, {True}, {False}]
