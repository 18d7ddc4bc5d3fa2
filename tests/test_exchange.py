"""Parts are exchanged for each other: what can work together is built and fits, what cannot is refused with a reason.

On torch's meta device: shapes without numbers, so that whole networks cost as little as tiny ones.
"""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcpose.build import SeveralAnimalsError, Trunk, build_pipeline
from dlcpose.config.models import available_models
from dlcpose.instantiate import Instantiator
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from tests.tiny_models import composed

CONF = Path(__file__).parents[1] / "conf"
SKELETON = Skeleton(("nose", "left_ear", "right_ear", "tail"), edges=((0, 1), (0, 2), (0, 3)))
SIZES = [(128, 192), (256, 256)]  # (height, width); the first cannot be cut into all patches
NEEDED = {"timm": ("backbone.name=convnext_atto",)}  # settings that an option asks for
# A neck sees of a backbone only its channels and strides: other options with the strides of one of these are slow tests.
STRIDES = ("resnet_18", "resnet_50", "resnet_50_stride8", "hrnet_stem", "hrnet_w18", "hrnet_w32_stage3", "vit_s")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))


def backbones() -> list[Any]:
    """All backbones, those with strides that another has marked as slow."""
    return [
        option if option in STRIDES else pytest.param(option, marks=pytest.mark.slow) for option in options("backbone")
    ]


def node(group: str, option: str) -> Any:
    """An option's config, composed along with one of each other group, as composing takes longer than most tests."""
    place = options(group).index(option)
    chosen = {each: options(each)[place % len(options(each))] for each in ("backbone", "neck", "head", "detector")}
    needed = [more for other in chosen.values() for more in NEEDED.get(other, ())]
    return composed("~model", "name=any", *(f"{each}={other}" for each, other in chosen.items()), *needed)[group]


@functools.cache
def backbone(option: str) -> Any:
    with torch.device("meta"):
        return Instantiator()(node("backbone", option), "backbone").eval()


@functools.cache
@torch.no_grad()
def features(option: str, size: tuple[int, int]) -> list[Tensor]:
    found: list[Tensor] = backbone(option)(torch.zeros(1, 3, *size, device="meta"))
    return found


def neck_on(option: str, backbone_option: str) -> Any:
    before = backbone(backbone_option)
    with torch.device("meta"):
        late = Instantiator()(node("neck", option), "neck")
        return late(in_channels=before.channels, strides=before.strides).eval()


def pipeline_with(head: str, trunk: Trunk, canvas: tuple[int, int] | None, animals: int, **config: Any) -> Any:
    base = {**composed("~model", "name=any", "side_head=[none]"), "head": node("head", head)}
    model_input = Input(*canvas) if canvas else Input()
    with torch.device("meta"):
        data = DataDescription(SKELETON, model_input, max_animals=animals)
        return build_pipeline({**base, **config}, Instantiator(), data, trunk=trunk).eval()


def assert_has_reason(error: ConfigError, part: str) -> None:
    """One line that begins with the part it is about, and ends with what to do."""
    said = str(error)
    assert said.startswith(part), said
    assert "\n" not in said
    assert re.search(r"(Take|Choose) .*\.$", said), said


def assert_fits(maps: Any, canvas: tuple[int, int], stride: float, more: int = 0) -> None:
    """All maps of the last resolution have a cell for each `stride` pixels of the canvas, and so many more."""
    shapes = {tuple(value.shape[-2:]) for value in maps if isinstance(value, Tensor) and value.ndim >= 4}
    assert shapes <= {(round(canvas[0] / stride) + more, round(canvas[1] / stride) + more)}


# ------------------------------------------------------------------------------------------------ backbone and neck


@pytest.mark.parametrize("option", options("backbone"))
def test_a_backbone_has_the_maps_it_states(option: str) -> None:
    size = SIZES[0]
    found = features(option, size)
    stated = zip(backbone(option).channels, backbone(option).strides, strict=True)
    assert [tuple(each.shape) for each in found] == [
        (1, channels, size[0] // stride, size[1] // stride) for channels, stride in stated
    ]


@pytest.mark.parametrize("neck", options("neck"))
@pytest.mark.parametrize("option", backbones())
@torch.no_grad()
def test_every_neck_reads_every_backbone_that_has_its_strides(option: str, neck: str) -> None:
    described = node("neck", neck)
    strides = {described["stride"]} if "stride" in described else set(described.get("bank_strides", ()))
    deepest_level = max(0, described.get("level", 0))
    if not strides <= set(backbone(option).strides):
        with pytest.raises(ConfigError) as caught:
            neck_on(neck, option)
        assert_has_reason(caught.value, "neck")
        return
    assert deepest_level < len(backbone(option).strides)
    built, size = neck_on(neck, option), SIZES[0]
    merged = built(features(option, size))
    assert merged.shape == (1, built.out_channels, size[0] // built.stride, size[1] // built.stride)
    assert built.stride in backbone(option).strides


# ------------------------------------------------------------------------------------------------ head


def refused_sizes(head: Mapping[str, Any], stride: int) -> list[tuple[int, int]]:
    """Sizes that a head's patches of its features do not divide."""
    patch = head.get("patch")
    if patch is None:
        return []
    return [size for size in SIZES if any(side % (stride * cells) for side, cells in zip(size, patch, strict=True))]


def check_head(head: str, trunk: Trunk, merged: Mapping[tuple[int, int], Tensor]) -> None:
    refused = refused_sizes(node("head", head), trunk.neck.stride)
    for size in SIZES:
        if size in refused:
            with pytest.raises(ConfigError) as caught:
                pipeline_with(head, trunk, size, 1)
            assert_has_reason(caught.value, "head")
            continue
        built = pipeline_with(head, trunk, size, 1).head
        assert_fits(built(merged[size]), size, built.stride, 1 if head in UNPADDED else 0)


# DeepLabCut's deconvolutions are not padded: their maps have a cell more than the stride says.
UNPADDED = ("deeplabcut_heatmap", "deeplabcut_paf")


class Features(nn.Module):
    """In the place of backbone and neck, where it does not matter which: `channels` of one stride."""

    def __init__(self, channels: int = 8, stride: int = 4) -> None:
        super().__init__()
        self.channels, self.strides, self.size_divisor = (channels,), (stride,), stride
        self.out_channels, self.stride = channels, stride

    def forward(self, images: Tensor) -> Tensor:
        return images


@pytest.mark.parametrize("head", options("head"))
@pytest.mark.parametrize(("channels", "stride"), [(48, 4), (64, 8), (96, 16), (32, 32)])
@torch.no_grad()
def test_every_head_reads_features_of_every_stride(channels: int, stride: int, head: str) -> None:
    features = Features(channels, stride)
    made = {size: torch.zeros(1, channels, size[0] // stride, size[1] // stride, device="meta") for size in SIZES}
    check_head(head, Trunk(features, features), made)


@pytest.mark.slow  # of all that a backbone is, a head sees the channels and stride of its last maps
@pytest.mark.parametrize("head", options("head"))
@pytest.mark.parametrize("option", options("backbone"))
@torch.no_grad()
def test_every_head_reads_every_backbone(option: str, head: str) -> None:
    neck = neck_on("identity", option)
    check_head(head, Trunk(backbone(option), neck), {size: neck(features(option, size)) for size in SIZES})


@pytest.mark.slow
@pytest.mark.parametrize("head", options("head"))
@pytest.mark.parametrize("neck", options("neck"))
@torch.no_grad()
def test_every_head_reads_every_neck(neck: str, head: str) -> None:
    built = neck_on(neck, "resnet_18")
    check_head(head, Trunk(backbone("resnet_18"), built), {size: built(features("resnet_18", size)) for size in SIZES})


@pytest.mark.parametrize("head", options("head"))
def test_a_head_made_for_one_size_is_refused_where_images_have_any(head: str) -> None:
    trunk = Trunk(Features(), Features())
    if not hasattr(pipeline_with(head, trunk, (256, 256), 1).head, "canvas") and "patch" not in node("head", head):
        assert pipeline_with(head, trunk, None, 1).head is not None
        return
    with pytest.raises(ConfigError, match="input=resize") as caught:
        pipeline_with(head, trunk, None, 1)
    assert_has_reason(caught.value, "head")


# ------------------------------------------------------------------------------------------------ pipeline


@pytest.mark.parametrize("head", options("head"))
@pytest.mark.parametrize("animals", [1, 2])
@pytest.mark.parametrize("pipeline", ["bottom_up", "top_down"])
def test_a_head_serves_as_many_animals_as_it_is_shown(pipeline: str, animals: int, head: str) -> None:
    config = composed(f"pipeline={pipeline}", "~model", "name=any")
    chosen = {"pipeline": config["pipeline"], "detector": {}}
    if pipeline == "top_down":
        chosen["detector"] = node("detector", "ground_truth")
    trunk = Trunk(Features(), Features())
    finds_several = pipeline_with(head, trunk, (256, 256), 1).head.multi_animal
    if (pipeline == "top_down") == finds_several and (finds_several or animals > 1):
        with pytest.raises(ConfigError) as caught:
            pipeline_with(head, trunk, (256, 256), animals, **chosen)
        if pipeline == "top_down":
            assert_has_reason(caught.value, "head")
        else:  # the command adds the names of the models that fit
            assert isinstance(caught.value, SeveralAnimalsError)
    else:
        assert pipeline_with(head, trunk, (256, 256), animals, **chosen).head.multi_animal == finds_several


def test_there_are_parts_and_models() -> None:
    assert {"dekr", "heatmap", "rtmcc"} <= set(options("head"))
    assert {"hrnet_w32", "vit_s", "cspnext_m"} <= set(options("backbone"))
    assert {"dekr_w32", "top_down_cspnext_x", "bottom_up_cspnext_s"} <= set(available_models())
