"""Cut HRNets against whole ones."""

from pathlib import Path

import pytest
import timm
import torch

from dlcpose.backbones.hrnet import HrnetBackbone
from dlcpose.structures.errors import CheckpointError, ConfigError

SMALL = "hrnet_w18_small"
CUTS = [(stages, branches) for stages in (1, 2, 3, 4) for branches in range(1, stages + 1)]


def whole_network() -> torch.nn.Module:
    torch.manual_seed(0)
    network = timm.create_model(SMALL, features_only=True, feature_location="").eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network


def images(side: int = 64) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, side, side)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hrnet") / "whole.pt"
    torch.save(whole_network().state_dict(), path)
    return path


@pytest.mark.parametrize(("stages", "branches"), CUTS)
def test_a_cut_network_returns_the_maps_of_the_whole_one(stages: int, branches: int, weights: Path) -> None:
    network = whole_network()
    seen: list[list[torch.Tensor]] = []
    place = network.layer1 if stages == 1 else getattr(network, f"stage{stages}")
    place.register_forward_hook(lambda *parts: seen.append(parts[-1] if stages > 1 else [parts[-1]]))
    backbone = HrnetBackbone(SMALL, stages=stages, branches=branches, checkpoint_path=str(weights)).eval()
    with torch.no_grad():
        network(images())
        found = backbone(images())
    assert len(found) == branches
    for level, expected in zip(found, seen[0][:branches], strict=True):
        torch.testing.assert_close(level, expected)
    assert backbone.channels == tuple(level.shape[1] for level in found)
    assert backbone.strides == tuple(64 // level.shape[-1] for level in found)


@pytest.mark.parametrize(("stages", "branches"), CUTS)
def test_every_weight_is_used(stages: int, branches: int) -> None:
    backbone = HrnetBackbone(SMALL, stages=stages, branches=branches)
    smallest = images(2 * backbone.size_divisor)
    sum(level.square().sum() for level in backbone(smallest)).backward()
    assert all(weight.grad is not None for weight in backbone.parameters())


def test_its_own_weights_come_back(tmp_path: Path) -> None:
    there = HrnetBackbone(SMALL, stages=2)
    torch.save(there.network.state_dict(), tmp_path / "cut.pt")
    here = HrnetBackbone(SMALL, stages=2, checkpoint_path=str(tmp_path / "cut.pt"))
    assert all(torch.equal(one, other) for one, other in zip(there.parameters(), here.parameters(), strict=True))
    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        HrnetBackbone(SMALL, stages=3, checkpoint_path=str(tmp_path / "cut.pt"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stages": 5}, "backbone.stages: HRNet has 4 stages, got 5"),
        ({"stages": 3, "branches": 4}, "stage 3 of HRNet has 3 branches, got 4"),
        ({"stages": 3, "branches": 0}, "got 0"),
        ({"name": "resnet18"}, "one of timm's HRNets"),
    ],
)
def test_invalid_cuts_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        HrnetBackbone(**{"name": SMALL, **settings})
