"""TokenPose, TransPose and ViTPose as whole models: sizes that others counted, and that they learn."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dlcpose.build import build_pipeline
from dlcpose.config.compose import compose
from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from tests.made_up_runs import frames_of, option, pipeline_of, tiny_config

SKELETON = Skeleton(tuple(f"keypoint_{number}" for number in range(17)))
PAPER = (256, 192)
TOKENS, CELLS, FINE_CELLS = 16 * 16, 32 * 24, 64 * 48  # of that input: TokenPose's patches, stride 8, stride 4

# Overrides, size of the input, parameters as counted on the authors' programs, multiply-accumulates in 10⁹, and how many
# of the parameters are their frozen table of sine positions, which is computed here.
COUNTED = {
    "TokenPose-S-v1": (["model=tokenpose_small", "head.patch=[4,3]"], PAPER, 6_669_888, 2.726, TOKENS * 192),
    "TokenPose-S-v2": (["model=tokenpose_small", "head.patch=[2,2]"], PAPER, 6_374_976, 7.487, 768 * 192),
    "TokenPose-B": (["model=tokenpose_base", "head.patch=[4,3]"], PAPER, 13_514_368, 6.276, 49_152),
    "TokenPose-L/D24": (["model=tokenpose_large", "head.patch=[4,3]"], PAPER, 27_531_552, 12.193, TOKENS * 192),
    "TokenPose-L/D24 384": (["model=tokenpose_large", "head.patch=[6,4]"], (384, 288), 29_863_968, 24.01, 288 * 192),
    "DeepLabCut's animaltokenpose_base": (
        [
            *("model=tokenpose_base", "backbone=hrnet_w32", "head.groups=3", "head.layers=6", "head.feed_forward=3"),
            *("head.hidden=null", "head.repeat_positions_from=1"),
        ],
        *((256, 256), 34_516_726, 11.618, TOKENS * 192),
    ),
    "TransPose-R-A4": (["model=transpose_r_a4"], PAPER, 5_985_105, 6.320, CELLS * 256),
    "TransPose-H-S": (
        [
            *("model=transpose_h_a6", "backbone=hrnet_w32_stage3", "neck.layers=4", "neck.width=64"),
            "neck.feed_forward=128",
        ],
        *(PAPER, 8_019_281, 9.929, FINE_CELLS * 64),
    ),
    "TransPose-H-A6": (["model=transpose_h_a6"], PAPER, 17_455_697, 21.282, 17_455_697 - 17_160_785),
    "ViTPose-S": (["model=vitpose_s"], PAPER, 24_290_577, 5.594, 0),
    "ViTPose-S simple": (["model=vitpose_s", "head=interpolation"], PAPER, 21_722_513, 4.654, 0),
    "ViTPose-B": (["model=vitpose_b"], PAPER, 89_994_513, 18.523, 0),
    "ViTPose-B simple": (["model=vitpose_b", "head=interpolation"], PAPER, 85_912_337, 17.461, 0),
}


def built(overrides: list[str], size: tuple[int, int] | None, skeleton: Skeleton = SKELETON) -> PoseEstimator:
    """Shapes without numbers."""
    config, instantiate = compose(overrides), Instantiator()
    with torch.device("meta"):
        data = DataDescription(skeleton, Input(*size) if size else Input())
        return build_pipeline(config, instantiate, data).eval()


# Of each family the smallest; the rest are the same parts at other widths.
QUICK = ("TokenPose-S-v1", "TransPose-R-A4", "ViTPose-S")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in COUNTED]
)
@torch.no_grad()
def test_sizes_are_those_that_others_counted(name: str) -> None:
    overrides, size, parameters, gmacs, table = COUNTED[name]
    pipeline = built(overrides, size)
    assert sum(weight.numel() for weight in pipeline.parameters()) + table == parameters
    with FlopCounterMode(display=False) as counter:
        maps = pipeline(torch.zeros(1, 3, *size, device="meta")).animals
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.001)
    assert maps.heatmaps.shape == (1, 17, size[0] // 4, size[1] // 4)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=tokenpose_base", "backbone=hrnet_w48"],
        ["model=tokenpose_base", "backbone=resnet_18"],
        ["model=tokenpose_small", "backbone=vit_s", "head.patch=[1,1]"],
        ["model=transpose_r_a4", "head=tokenpose", "head.patch=[2,2]"],
        ["model=vitpose_s", "neck=attention"],
    ],
    ids=str,
)
@torch.no_grad()
def test_parts_are_exchanged(overrides: list[str]) -> None:
    pipeline = built(overrides, (128, 192))
    maps = pipeline(torch.zeros(1, 3, 128, 192, device="meta")).animals
    assert maps.heatmaps.shape == (1, 17, 128 / pipeline.head.stride, 192 / pipeline.head.stride)


def test_tokens_need_one_size_of_input() -> None:
    with pytest.raises(ConfigError, match="input=resize"):
        built(["model=tokenpose_base"], None)
    with pytest.raises(ConfigError, match=r"input\.height=128 input\.width=128"):
        built(["model=tokenpose_base"], (128, 104))


# Small enough to learn two images by heart within seconds.
LOSS = option("loss", "located_cross_entropy")
DECONVOLUTION = {**option("head", "deconvolution"), "heatmap_loss": LOSS, "channels": 32}
LEARNERS: dict[str, dict[str, Any]] = {
    "tokenpose": {
        "neck": {**option("neck", "identity"), "level": 0},
        "head": {
            **option("head", "tokenpose"),
            **{"heatmap_loss": LOSS, "width": 48, "layers": 2, "heads": 4, "feed_forward": 96, "hidden": 64},
        },
    },
    "transpose": {
        "neck": {
            **option("neck", "attention"),
            **{"level": 1, "width": 32, "layers": 2, "heads": 4, "feed_forward": 64, "dropout": 0.0},
        },
        "head": {**DECONVOLUTION, "deconvolutions": 1},
    },
    "vitpose": {
        "backbone": {
            **option("backbone", "vit_s"),
            **{"table": [64, 64], "drop_path": 0.0, "options": {"embed_dim": 64, "depth": 2, "num_heads": 4}},
        },
        "neck": option("neck", "identity"),
        "head": DECONVOLUTION,
    },
}


def two_images(pipeline: PoseEstimator) -> PoseBatch:
    data = frames_of(2)
    return pipeline.normalized(collate([fit_to_canvas(data[index], pipeline.model_input) for index in range(2)]))


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_two_images_are_learned_by_heart(name: str) -> None:
    pipeline = pipeline_of(tiny_config(**LEARNERS[name]), frames_of(2)).train()
    batch = two_images(pipeline)
    targets = pipeline.encode(batch)
    optimizer = torch.optim.AdamW(pipeline.parameters(), lr=2e-3)
    losses = []
    for _ in range(200):
        loss = torch.stack(list(pipeline.losses(pipeline(batch.images), targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[10] < losses[0]
    assert losses[-1] < 0.05 * losses[0]
    with torch.no_grad():
        found = pipeline.eval().decode(pipeline(batch.images))
    apart = [
        (one.keypoints_in_crop[0] - gt[0]).norm(dim=-1) for one, gt in zip(found, batch.keypoints_in_crop, strict=True)
    ]
    assert torch.cat(apart).nanmean() < 2.0  # px


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("keypoints", [4, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 24))])
@torch.no_grad()
def test_predictions_do_not_depend_on_the_batch(name: str, keypoints: int) -> None:
    data = frames_of(2)
    data.skeleton = Skeleton(SKELETON.names[:1] if keypoints == 1 else tuple(f"keypoint_{n}" for n in range(keypoints)))
    pipeline = pipeline_of(tiny_config(**LEARNERS[name]), data, to_train=False).eval()
    torch.manual_seed(0)
    images = torch.randn(3, 3, 64, 64)
    together = pipeline(images).animals.heatmaps
    assert together.shape == (3, keypoints, 16, 16)
    for index in range(3):
        alone = pipeline(images[index : index + 1]).animals.heatmaps
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", LEARNERS)
@torch.no_grad()
def test_half_precision_predicts_nearly_the_same(name: str) -> None:
    pipeline = pipeline_of(tiny_config(**LEARNERS[name]), frames_of(2), to_train=False).eval()
    weight, bias = list(pipeline.head.parameters())[-2:]
    weight.normal_(std=0.3), bias.zero_()  # it begins with nearly empty maps, in which nothing can be compared
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 64)
    exact = pipeline(images).animals.heatmaps
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = pipeline(images).animals.heatmaps
    assert coarse.dtype == torch.float32
    assert (coarse.logit() - exact.logit()).abs().mean() < 0.1 * exact.logit().std()
