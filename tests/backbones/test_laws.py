"""The laws that all backbones obey, run on each option of conf/backbone."""

import functools
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlcpose.config.compose import compose
from dlcpose.instantiate import Instantiator
from dlcpose.structures.errors import CheckpointError, ConfigError

FOLDER = Path(__file__).parents[2] / "conf" / "backbone"
NAMED = {"timm": ("convnext_tiny", "efficientnet_b0")}  # options that ask for a name
CASES = sorted((path.stem, name) for path in FOLDER.glob("[!_]*.yaml") for name in NAMED.get(path.stem, (None,)))
SMALL = ("resnet_18", None)
KINDS = (SMALL, ("cspnext_s", None))  # one option of timm's, one of our own


@functools.cache
def config_of(option: str, name: str | None) -> dict[str, Any]:
    named = [] if name is None else [f"backbone.name={name}"]
    return compose(["~model", "name=laws", f"backbone={option}", *named])


def backbone_of(case: tuple[str, str | None], **settings: Any) -> Any:
    node = {**config_of(*case)["backbone"], **settings}
    return Instantiator()(node, "backbone")


def batch(sides: int = 2) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, 64, 32 * sides)


def statistics(network: nn.Module) -> list[torch.Tensor]:
    return [module.running_mean.clone() for module in network.modules() if isinstance(module, _BatchNorm)]


# The same networks as others, wider or deeper.
LARGE = ("hrnet_w32", "hrnet_w48", "hrnet_w48_stage3", "resnet_101", "cspnext_m", "cspnext_x", "vit_b")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case[0] in LARGE else case for case in CASES], ids=str
)
def test_channels_and_strides_are_as_stated(case: tuple[str, str | None]) -> None:
    with torch.device("meta"):  # shapes alone: no weights are made
        backbone = backbone_of(case).eval()
        sides = (4 * backbone.size_divisor, 2 * backbone.size_divisor)
        maps = backbone(torch.zeros(1, 3, *sides))
    assert list(backbone.strides) == sorted(backbone.strides)
    assert len(maps) == len(backbone.channels) == len(backbone.strides)
    for level, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
        assert level.shape == (1, channels, sides[0] // stride, sides[1] // stride)


# Our own backbones have no hub: without the setting none of them can be asked for pretrained weights.
@pytest.mark.parametrize("case", [case for case in CASES if "pretrained" in config_of(*case)["backbone"]], ids=str)
@pytest.mark.parametrize(
    "error",
    [
        OSError("We couldn't connect to the hub"),
        RuntimeError("Hub: cannot resolve the host"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_unreachable_hub_error_names_both_alternatives(
    case: tuple[str, str | None], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any, pretrained: bool, **settings: Any) -> Any:
        assert pretrained, "random weights were taken where others were asked for"
        raise error

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(CheckpointError) as caught:
        backbone_of(case, pretrained=True)
    assert "backbone.checkpoint_path=" in str(caught.value)
    assert "backbone.pretrained=false" in str(caught.value)


def test_timm_raises_one_of_these_errors_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match="pretrained=false"):
        backbone_of(SMALL, pretrained=True)


@pytest.mark.parametrize("case", KINDS, ids=str)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_come_from_a_file(case: tuple[str, str | None], suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    there = backbone_of(case)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": there.network.state_dict()}, path)
    else:
        pytest.importorskip("safetensors.torch").save_file(there.network.state_dict(), path)
    torch.manual_seed(2)
    here = backbone_of(case, checkpoint_path=str(path))
    assert all(
        torch.equal(one, other)
        for one, other in zip(there.state_dict().values(), here.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_a_file_that_does_not_fit_is_refused(case: tuple[str, str | None], tmp_path: Path) -> None:
    state = backbone_of(case).network.state_dict()
    first = next(iter(state))
    broken = {
        "missing.pt": {key: value for key, value in state.items() if key != first},
        "shape.pt": {**state, first: torch.zeros(3)},
        "none.pt": {"state_dict": {}},
        "nan.pt": {**state, first: torch.full_like(state[first], torch.nan)},
        "whole.pt": {**state, first: state[first].int()},
        "complex.pt": {**state, first: state[first].to(torch.complex64)},
        "meta.pt": {**state, first: state[first].to("meta")},
        "two.pt": {**state, **{f"model.{key}": value + 1 for key, value in state.items()}},
    }
    for name, content in broken.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(CheckpointError, match=name):
            backbone_of(case, checkpoint_path=str(tmp_path / name))
    (tmp_path / "text.pt").write_text("no weights at all")
    for name in ("text.pt", "absent.pt"):
        with pytest.raises(CheckpointError, match=name):
            backbone_of(case, checkpoint_path=str(tmp_path / name))


def test_a_checkpoint_of_a_run_is_said_to_be_one(tmp_path: Path) -> None:
    state = {f"backbone.{key}": value for key, value in backbone_of(SMALL).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"init_from\.checkpoint=.*best\.ckpt"):
        backbone_of(SMALL, checkpoint_path=str(tmp_path / "best.ckpt"))


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_weights_from_before_batch_norm_counted_batches_are_whole(case: tuple[str, str | None], tmp_path: Path) -> None:
    """Those of torchvision's ResNets are."""
    state = backbone_of(case).network.state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    torch.save(old, tmp_path / "old.pth")
    loaded = backbone_of(case, checkpoint_path=str(tmp_path / "old.pth")).network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in old.items())


def test_an_unknown_name_gives_an_error_with_near_ones() -> None:
    with pytest.raises(ConfigError, match="resnet50"):
        backbone_of(("timm", "resnet5o"))


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_frozen_weights_do_not_move(case: tuple[str, str | None]) -> None:
    backbone = backbone_of(case, frozen=True).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    readout = nn.Conv2d(backbone.channels[-1], 1, 1)
    optimizer = torch.optim.SGD([weight for weight in (*backbone.parameters(), *readout.parameters())], lr=1.0)
    readout(backbone(batch())[-1]).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert readout.weight.grad is not None


@pytest.mark.parametrize("case", KINDS, ids=str)
@pytest.mark.parametrize("keeps", [True, False])
def test_frozen_statistics_keep_their_running_means_while_weights_learn(
    case: tuple[str, str | None], keeps: bool
) -> None:
    backbone = backbone_of(case, frozen_statistics=keeps).train()
    before, weights = statistics(backbone), [weight.clone() for weight in backbone.parameters()]
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    backbone(batch())[-1].square().mean().backward()
    optimizer.step()
    stayed = [torch.equal(one, other) for one, other in zip(before, statistics(backbone), strict=True)]
    assert all(stayed) if keeps else not any(stayed)
    assert any(not torch.equal(one, other) for one, other in zip(weights, backbone.parameters(), strict=True))
