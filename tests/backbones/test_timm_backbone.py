"""timm's networks are told before the first step where they take no images of the input's size, or answer otherwise."""

from typing import Any

import pytest
import torch

from dlcpose.backbones.timm_backbone import TimmBackbone
from dlcpose.structures.errors import ConfigError
from tests.made_up_runs import frames_of, pipeline_of, tiny_config

CANVAS = (64, 96)
# As small as can be.
SWIN = ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]})
VIT = ("vit_tiny_patch16_224", {"embed_dim": 24, "depth": 3, "num_heads": 1})


@pytest.mark.parametrize("canvas", [CANVAS, None])
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_networks_for_any_size_are_left_as_they_are(name: str, canvas: tuple[int, int] | None) -> None:
    backbone = TimmBackbone(name).train()
    before, drawn = {key: value.clone() for key, value in backbone.state_dict().items()}, torch.get_rng_state()
    backbone.check_canvas(canvas)
    assert backbone.training
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize(("name", "options"), [VIT, SWIN])
def test_networks_for_one_size_need_that_of_the_input(name: str, options: dict[str, Any]) -> None:
    for canvas, way_out in ((CANVAS, r"backbone\.options\.img_size=\[64,96\]"), (None, "input=letterbox")):
        with pytest.raises(ConfigError, match=rf"^backbone\.name: {name} .*{way_out}"):
            TimmBackbone(name, options=options).check_canvas(canvas)
    sized = TimmBackbone(name, options={**options, "img_size": list(CANVAS)})
    sized.check_canvas(CANVAS)
    with pytest.raises(ConfigError, match=r"^backbone\.name"):
        sized.check_canvas((96, 64))
    maps = sized.eval()(torch.zeros(1, 3, *CANVAS))
    for level, channels, stride in zip(maps, sized.channels, sized.strides, strict=True):
        assert level.shape == (1, channels, CANVAS[0] // stride, CANVAS[1] // stride)


def test_strides_that_are_not_as_stated_are_refused() -> None:
    backbone = TimmBackbone("test_resnet")
    backbone.strides = tuple(stride // 2 for stride in backbone.strides)
    with pytest.raises(ConfigError, match="in place of"):
        backbone.check_canvas(CANVAS)


def test_it_is_asked_before_a_training_alone() -> None:
    config = tiny_config(backbone={**tiny_config()["backbone"], "name": VIT[0], "options": VIT[1]})
    with pytest.raises(ConfigError, match=r"^backbone\.name: vit_tiny"):
        pipeline_of(config, frames_of(2))
    pipeline_of(config, frames_of(2), to_train=False)


def test_maps_that_there_are_none_of_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"out_indices"):
        TimmBackbone("test_resnet", options={"out_indices": [9]})
