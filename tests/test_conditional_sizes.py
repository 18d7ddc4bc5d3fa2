"""Conditional models as a whole: parameters and GMACs that others counted, and components that are exchanged."""

import functools
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dlcpose.build import Trunk, build_input, build_pipeline, build_trunk
from dlcpose.config.compose import compose
from dlcpose.config.models import available_models, describe
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.conditional_top_down import ConditionalTopDown
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton

SKELETON = Skeleton(tuple(f"keypoint_{number}" for number in range(17)))
PLAIN = {"_target_": "dlcpose.pipelines.bottom_up.BottomUp", "_partial_": True}
OFFSETS = "head.offsets=true"  # DeepLabCut's heatmaps have them throughout
POSES = ("detector=perturbed_pose_boxes", "condition=generated", "fusion=prenet")
LARGE = ("input.height=384", "input.width=288")
# The authors' HRNet leaves out the layers that fuse into branches nobody reads; timm's, and DeepLabCut's, does not.
AS_PUBLISHED = ("backbone=hrnet_w32_stage3", "backbone.stages=4", "backbone.branches=1")
WIDER = (*AS_PUBLISHED, "backbone.name=hrnet_w48")
COLORED = "fusion.colored=true"

# Overrides, parameters and multiply-accumulates in 10⁹ as counted on the authors' programs and on DeepLabCut 3.
COUNTED = {
    "buctd_coam_w32_stacked": (["model=ctd_coam_w32", *AS_PUBLISHED, *LARGE], 79_992_623, 23.01),
    "buctd_coam_w32_colored": (["model=ctd_coam_w32", COLORED, *AS_PUBLISHED, *LARGE], 79_953_661, 22.933),
    "buctd_coam_w32_colored 256": (["model=ctd_coam_w32", COLORED, *AS_PUBLISHED], 46_892_941, 12.327),
    "buctd_coam_w48_stacked": (["model=ctd_coam_w48", *WIDER, *LARGE], 115_636_559, 44.375),
    "buctd_coam_w48_colored": (["model=ctd_coam_w48", COLORED, *WIDER, *LARGE], 115_581_917, 44.271),
    "buctd_coam_w48_colored 256": (["model=ctd_coam_w48", COLORED, *WIDER], 82_521_197, 24.34),
    "buctd_prenet_w32": (["model=ctd_prenet_hrnet_w32", COLORED, *AS_PUBLISHED, *LARGE], 28_547_900, 18.482),
    "buctd_prenet_w48": (["model=ctd_prenet_hrnet_w48", COLORED, *WIDER, *LARGE], 63_607_532, 36.587),
    "dlc_ctd_coam_w32": (["model=ctd_coam_w32", OFFSETS], 47_703_009, 12.493),
    "dlc_ctd_coam_w48": (["model=ctd_coam_w48", OFFSETS], 84_307_713, 24.67),
    "dlc_ctd_coam_w48_human": (["model=ctd_coam_w48", OFFSETS, *LARGE], 117_368_433, 44.827),
    "dlc_ctd_prenet_hrnet_w32": (["model=ctd_prenet_hrnet_w32", OFFSETS], 29_321_064, 11.208),
    "dlc_ctd_prenet_hrnet_w48": (["model=ctd_prenet_hrnet_w48", OFFSETS], 65_341_464, 22.084),
    "dlc_ctd_prenet_rtmpose_s": (["model=ctd_prenet_rtmpose_s"], 5_523_960, 1.792),
    "dlc_ctd_prenet_rtmpose_m": (["model=ctd_prenet_rtmpose_m"], 13_638_320, 3.447),
    "dlc_ctd_prenet_rtmpose_x": (["model=ctd_prenet_rtmpose_x"], 49_506_496, 24.887),
}


@functools.cache
def trunk_of(described: str) -> Trunk:
    """Backbone and neck without numbers; they are what takes time to build."""
    with torch.device("meta"):
        return build_trunk(json.loads(described), Instantiator())


def built(overrides: list[str]) -> ConditionalTopDown:
    """Shapes without numbers."""
    config, parts = compose(overrides), Instantiator()
    trunk = trunk_of(json.dumps({"pipeline": PLAIN, **{name: config[name] for name in ("backbone", "neck")}}))
    with torch.device("meta"):
        pipeline = build_pipeline(
            config,
            parts,
            DataDescription(SKELETON, build_input(config, parts, trunk, [(256, 256)]), max_animals=5),
            trunk=trunk,
        )
    assert isinstance(pipeline, ConditionalTopDown)
    return pipeline.eval()


# The rest are the same components at other widths.
QUICK = ("dlc_ctd_coam_w32", "dlc_ctd_prenet_rtmpose_s")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in COUNTED]
)
@torch.no_grad()
def test_sizes_are_those_that_others_counted(name: str) -> None:
    overrides, parameters, gmacs = COUNTED[name]
    pipeline = built(overrides)
    assert sum(weight.numel() for weight in pipeline.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        pipeline(torch.zeros(1, pipeline.channels, *pipeline.crop_size, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.001)


def test_the_table_of_models_has_them() -> None:
    names = [name for name in available_models() if name.startswith("ctd_")]
    assert len(names) == 7
    row = describe("ctd_coam_w32")
    assert (row.animals, row.detector_parameters, row.input) == ("several", 0, (256, 256))
    assert row.parameters == 47_703_009 - 2 * 17 * 32 - 2 * 17  # without the offsets


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=ctd_coam_w32", "backbone=hrnet_w18"],
        ["model=ctd_prenet_hrnet_w32", "backbone=resnet_18", "neck=fpn", "head=rtmcc"],
        *(
            pytest.param(overrides, marks=pytest.mark.slow, id=" ".join(overrides))
            for overrides in (
                ["model=ctd_coam_w32", "backbone=resnet_18", "fusion.before=layer3", "neck=fpn"],
                ["model=ctd_coam_w32", "backbone=cspnext_s", "neck=identity", "head=rtmcc"],
                [
                    "model=ctd_prenet_hrnet_w32",
                    "backbone=hrnet_w18",
                    "fusion=coam",
                    "input.height=128",
                    "input.width=128",
                ],
            )
        ),
        ["model=ctd_prenet_rtmpose_s", "backbone=timm", "backbone.name=convnext_tiny", "neck=fpn", "head=heatmap"],
        ["model=top_down_resnet_18", "pipeline=conditional_top_down", *POSES],
    ],
    ids=" ".join,
)
@torch.no_grad()
def test_parts_are_exchanged(overrides: list[str]) -> None:
    pipeline = built(overrides)
    maps = pipeline(torch.zeros(2, pipeline.channels, *pipeline.crop_size, device="meta")).animals
    assert maps[0].shape[:2] == (2, 17)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["model=bottom_up_resnet_18", "fusion=prenet"],
            "fusion: BottomUp",
        ),
        (["model=top_down_resnet_18", "condition=generated"], "condition: TopDown"),
        (["model=ctd_coam_w32", "fusion=none"], "fusion: ConditionalTopDown"),
        (["model=ctd_coam_w32", "detector=centernet"], "detector: ConditionalTopDown"),
        (["model=ctd_coam_w32", "condition=predicted"], "condition: PredictedConditions"),
        (["model=ctd_coam_w32", "detector=pose_boxes"], "detector: "),
        (["model=ctd_coam_w32", "head=dekr"], "head: DekrHead"),
        (["model=ctd_coam_w32", "backbone=resnet_18"], "fusion.before=stage3"),
        (["model=ctd_coam_w32", "input.height=250"], "input: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_put_together_is_said_in_a_line(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(overrides)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
