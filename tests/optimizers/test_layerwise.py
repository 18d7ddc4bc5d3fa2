"""Layer-wise rates against timm's layer decay, which numbers layers by each model's own description."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from dlcpose.backbones.timm_backbone import TimmBackbone
from dlcpose.backbones.vit import VitBackbone
from dlcpose.optimizers.layerwise import layerwise, steps_to_end
from tests.made_up_runs import frames_of, option, pipeline_of, run_of, tiny_config, trainer_of

DECAY, LR, WEIGHT_DECAY = 0.75, 0.5, 0.1


class Model(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv2d(4, 3, 1)


def settings_of(model: nn.Module, **settings: Any) -> dict[str, tuple[float, float]]:
    """Rate and weight decay of each weight, by name."""
    made = layerwise(
        model.named_parameters(), kind=torch.optim.AdamW, lr=LR, **{"weight_decay": WEIGHT_DECAY, **settings}
    )
    return {name: (group["lr"], group["weight_decay"]) for group in made.param_groups for name in group["param_names"]}


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("vit_tiny_patch16_224", lambda: VitBackbone("vit_tiny_patch16_224")),
        ("resnet18", lambda: TimmBackbone("resnet18")),
        ("test_resnet", lambda: TimmBackbone("test_resnet")),
        ("hrnet_w18_small", lambda: TimmBackbone("hrnet_w18_small", options={"feature_location": ""})),
    ],
)
def test_rates_are_those_of_timm(name: str, backbone: Any) -> None:
    whole = timm.create_model(name)
    skipped = whole.no_weight_decay() if hasattr(whole, "no_weight_decay") else ()
    groups = param_groups_layer_decay(
        whole, weight_decay=WEIGHT_DECAY, layer_decay=DECAY, no_weight_decay_list=tuple(skipped)
    )
    ids = {id(weight): name for name, weight in whole.named_parameters()}
    theirs = {
        ids[id(weight)]: (LR * group["lr_scale"], group["weight_decay"])
        for group in groups
        for weight in group["params"]
    }
    ours = settings_of(Model(backbone()), layer_decay=DECAY)
    compared = 0
    for weight, expected in ours.items():
        if (its_name := weight.removeprefix("backbone.network.")) in theirs:
            assert expected == pytest.approx(theirs[its_name]), weight
            compared += 1
    assert compared > 0.8 * len(ours)
    assert ours["head.weight"] == (LR, WEIGHT_DECAY)
    assert ours["head.bias"] == (LR, 0.0)


def test_a_layer_is_a_numbered_block_and_what_follows_it() -> None:
    names = ["stem.0.weight", "blocks.0.a.1.weight", "blocks.0.b.weight", "bridge.0.weight", "blocks.1.a.weight"]
    assert list(steps_to_end([*names, "norm.weight"]).values()) == [3, 2, 2, 2, 1, 1]
    assert steps_to_end([]) == {}
    assert steps_to_end(["weight"]) == {"weight": 1}


def test_a_slower_backbone_is_all_that_is_slower() -> None:
    found = settings_of(Model(TimmBackbone("test_resnet")), backbone=0.1)
    for name, (rate, _) in found.items():
        assert rate == pytest.approx(0.1 * LR if name.startswith("backbone.") else LR), name


def test_every_trainable_weight_is_in_one_group(tmp_path: Path) -> None:
    backbone = {**tiny_config()["backbone"], "frozen": True}
    for changes in ({}, {"backbone": backbone}):
        pipeline = pipeline_of(tiny_config(**changes), frames_of(2))
        learning = {name for name, weight in pipeline.named_parameters() if weight.requires_grad}
        named = [(name, weight) for name, weight in pipeline.named_parameters() if weight.requires_grad]
        made = layerwise(named, kind=torch.optim.SGD, lr=LR, layer_decay=DECAY)
        grouped = [name for group in made.param_groups for name in group["param_names"]]
        assert sorted(grouped) == sorted(learning)


@pytest.mark.parametrize("name", ["layerwise", "slow_backbone"])
def test_a_schedule_scales_every_rate_by_one_factor(name: str, tmp_path: Path) -> None:
    pipeline, module = run_of(tiny_config(optimizer=option("optimizer", name)), frames_of(4), min_steps=4)
    trainer = trainer_of(tmp_path, max_epochs=2)
    trainer.fit(pipeline, datamodule=module)
    groups = trainer.optimizers[0].param_groups
    shares = {round(group["lr"] / group["initial_lr"], 9) for group in groups}
    assert len(shares) == 1
    assert len({group["initial_lr"] for group in groups}) > 1
    assert shares.pop() < 0.5


@pytest.mark.parametrize("settings", [{"backbone": 0.0}, {"layer_decay": 1.5}])
def test_factors_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at most 1"):
        settings_of(Model(TimmBackbone("test_resnet")), **settings)
