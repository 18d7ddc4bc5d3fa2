"""What every fusion promises, on each option of conf/fusion."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcpose.config.compose import compose
from dlcpose.fusions.base import Fusion
from dlcpose.instantiate import Instantiator
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton

OPTIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "fusion").glob("*.yaml"))
OPTIONS.remove("none")
SKELETON = Skeleton(("nose", "left_ear", "right_ear", "tail"), pairs=((1, 2),))
CANVAS = (64, 96)
BACKBONES = (
    ("timm", "test_resnet", "layer3"),
    ("timm", "hrnet_w18_small", "stage3"),
    ("cspnext_s", None, "stage3"),
)


@functools.cache
def config_of(fusion: str, backbone: str, name: str | None) -> dict[str, Any]:
    named = [] if name is None else [f"backbone.name={name}"]
    hrnet = ["+backbone.options.feature_location=''"] if name and "hrnet" in name else []
    return compose(["~model", "name=laws", f"fusion={fusion}", f"backbone={backbone}", *named, *hrnet])


def parts_of(fusion: str, case: tuple[str, str | None, str], **settings: Any) -> tuple[Any, Fusion]:
    """A backbone and a fusion on it, ready to look."""
    backbone, name, stage = case
    config = config_of(fusion, backbone, name)
    torch.manual_seed(0)
    built = Instantiator()(config["backbone"], "backbone")
    node = {**config["fusion"], **({"before": stage} if "before" in config["fusion"] else {}), **settings}
    late = Instantiator()(node, "fusion")
    known = {"skeleton": SKELETON, "canvas": CANVAS, "backbone": built}
    requested = {name: value for name, value in known.items() if name in late.func.__init__.__code__.co_varnames}
    return built.eval(), late(**requested).eval()


@pytest.fixture(scope="module", params=[(option, case) for option in OPTIONS for case in BACKBONES], ids=str)
def fused(request: pytest.FixtureRequest) -> tuple[Any, Fusion]:
    return parts_of(*request.param)


def images_of(count: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 3, *CANVAS)


def poses_of(count: int) -> torch.Tensor:
    torch.manual_seed(2)
    poses = torch.rand(count, len(SKELETON), 2) * torch.tensor([CANVAS[1] - 1, CANVAS[0] - 1])
    poses[0, 1] = torch.nan
    return poses


@torch.no_grad()
def test_maps_are_those_of_the_backbone_in_shape(fused: tuple[Any, Fusion]) -> None:
    backbone, fusion = fused
    rendered = fusion.render(poses_of(2), CANVAS)
    assert rendered.shape == (2, fusion.channels, *CANVAS)
    maps = fusion(backbone, images_of(2), rendered)
    assert [level.shape for level in maps] == [level.shape for level in backbone(images_of(2))]


@torch.no_grad()
def test_each_crop_depends_only_on_its_own_condition(fused: tuple[Any, Fusion]) -> None:
    backbone, fusion = fused
    images = images_of(1).expand(2, -1, -1, -1)
    poses = poses_of(2)
    together = fusion(backbone, images, fusion.render(poses, CANVAS))
    heard = (together[-1][0] - together[-1][1]).abs().max() / together[-1].abs().max()  # one image, two conditions
    assert heard > 1e-4
    for index in range(2):
        alone = fusion(backbone, images[:1], fusion.render(poses[index : index + 1], CANVAS))
        for many, one in zip(together, alone, strict=True):
            torch.testing.assert_close(many[index : index + 1], one, atol=1e-3 * float(one.abs().max()), rtol=1e-3)


@torch.no_grad()
def test_the_backbone_is_left_as_it_was(fused: tuple[Any, Fusion]) -> None:
    backbone, fusion = fused
    before, state = backbone(images_of(1)), {name: value.clone() for name, value in backbone.state_dict().items()}
    fusion(backbone, images_of(1), fusion.render(poses_of(1), CANVAS))
    for one, other in zip(before, backbone(images_of(1)), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert list(backbone.state_dict()) == list(state)
    assert not any(name.startswith("backbone") for name, _ in fusion.named_parameters())
    assert not any(module._forward_pre_hooks for module in backbone.modules())


def test_gradients_reach_every_weight_of_the_fusion(fused: tuple[Any, Fusion]) -> None:
    backbone, fusion = fused
    fusion.train()
    fusion(backbone, images_of(2), fusion.render(poses_of(2), CANVAS))[-1].square().sum().backward()
    fusion.eval()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in fusion.parameters())


@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.startswith("deeplabcut_")])
@torch.no_grad()
def test_a_condition_can_be_one_colored_picture(option: str) -> None:
    backbone, fusion = parts_of(option, BACKBONES[0], colored=True)
    assert fusion.channels == 3
    assert len(fusion(backbone, images_of(2), fusion.render(poses_of(2), CANVAS))) == len(backbone.strides)


@pytest.mark.parametrize("option", OPTIONS)
def test_a_bump_without_width_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match="sigma"):
        parts_of(option, BACKBONES[0], sigma=0.0)
