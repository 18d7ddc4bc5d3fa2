"""The plain vision transformer against timm's: positions, padding, weights, attention."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from dlcpose.backbones.vit import VitBackbone
from dlcpose.structures.errors import CheckpointError, ConfigError

TINY = {"num_heads": 2, "embed_dim": 32, "depth": 2}
NAME = "vit_tiny_patch16_224"


def backbone_of(**settings: Any) -> VitBackbone:
    torch.manual_seed(0)
    backbone = VitBackbone(NAME, **{"table": (64, 48), "options": TINY, **settings}).eval()
    if "checkpoint_path" not in settings:
        torch.nn.init.normal_(backbone.network.pos_embed)
    return backbone


def images(height: int = 64, width: int = 48) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, height, width)


def test_without_a_class_token_it_is_timms() -> None:
    ours = backbone_of(padding=0)
    theirs = timm.create_model(NAME, img_size=(64, 48), num_classes=0, class_token=False, global_pool="", **TINY).eval()
    state = {key: value for key, value in ours.network.state_dict().items() if key != "pos_embed"}
    state["pos_embed"] = ours.network.pos_embed[:, 1:] + ours.network.pos_embed[:, :1]
    theirs.load_state_dict(state)
    with torch.no_grad():
        (found,) = ours(images())
        expected = theirs.forward_features(images())  # (B, 12, width)
    torch.testing.assert_close(found, expected.mT.reshape(2, 32, 4, 3))


def test_the_padding_moves_the_patches() -> None:
    moved = torch.zeros(2, 3, 64, 48)
    moved[..., 2:, 2:] = images()[..., :-2, :-2]
    with torch.no_grad():
        (plain,), (padded,) = backbone_of(padding=0)(moved), backbone_of(padding=2)(images())
    torch.testing.assert_close(plain, padded)


def test_positions_are_interpolated_to_other_image_sizes() -> None:
    backbone = backbone_of()
    rows = torch.arange(4.0)[:, None, None].expand(4, 3, 32).reshape(1, 12, 32)
    backbone.network.pos_embed.data[:, 1:] = rows
    stretched = backbone.network._positions((16, 3)).reshape(16, 3, 32)
    middle = (torch.arange(16.0) + 0.5) / 4 - 0.5  # the same place of the image
    # torch's cubic kernel keeps a ramp only nearly; a table pinned at its corners would be 0.18 off.
    torch.testing.assert_close(stretched[4:-4, 1, 0], middle[4:-4], atol=0.12, rtol=0)
    (map_,) = backbone(images(128, 32))
    assert map_.shape == (2, 32, 8, 2)


@pytest.mark.parametrize("kind", ["own", "timm", "vitpose"])
def test_weights_come_from_files_of_each_kind(kind: str, tmp_path: Path) -> None:
    there = backbone_of()
    state = dict(there.network.state_dict())
    if kind == "timm":  # square images of 224 px, a class token and a classifier
        state = timm.create_model(NAME, **TINY).state_dict()
    if kind == "vitpose":
        state = {
            f"backbone.{key.replace('norm.', 'last_norm.', key.startswith('norm.'))}": w for key, w in state.items()
        }
    torch.save({"state_dict": state}, tmp_path / "weights.pt")
    here = backbone_of(checkpoint_path=str(tmp_path / "weights.pt"))
    if kind == "timm":
        torch.testing.assert_close(here.network.pos_embed[:, 0], state["pos_embed"][:, 0])
        assert torch.equal(here.network.norm.weight, state["norm.weight"])
    else:
        assert all(torch.equal(one, other) for one, other in zip(there.parameters(), here.parameters(), strict=True))


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model(NAME, **{**TINY, "embed_dim": 16}).state_dict(), tmp_path / "narrow.pt")
    with pytest.raises(CheckpointError, match=r"narrow\.pt"):
        backbone_of(checkpoint_path=str(tmp_path / "narrow.pt"))


def test_attention_is_that_of_the_layer() -> None:
    backbone = backbone_of(padding=0)
    backbone.network.blocks[1].attn.fused_attn = False
    seen: list[torch.Tensor] = []
    backbone.network.blocks[1].attn.attn_drop.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    points = torch.tensor([[[7.5, 7.5], [40.0, 60.0]]]).expand(2, -1, -1)  # cells (0, 0) and (2, 3) of 4x3
    with torch.no_grad():
        backbone(images())
        shares = backbone.attention_maps(images(), points, -1)
    torch.testing.assert_close(shares.flatten(2), seen[0].mean(dim=1)[:, [0, 11]])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"padding": 8}, "backbone.padding"),
        ({"name": "deit3_small_patch16_224"}, "no plain vision transformer"),
        ({"name": "resnet18"}, "timm cannot give the features"),
    ],
)
def test_other_transformers_are_refused(settings: dict[str, Any], said: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=said):
        VitBackbone(**{"name": NAME, "options": TINY, **settings})
