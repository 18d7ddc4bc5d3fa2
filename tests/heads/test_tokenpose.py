"""TokenPose: tokens, patches, positions, and the input sizes that fit."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlcpose.codecs.pos_embed import sine_pos_embed
from dlcpose.heads.tokenpose import TokenPoseHead
from dlcpose.losses.heatmap import mean_squared_error
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton

CANVAS = (32, 48)
SMALL = {"patch": (2, 3), "width": 16, "layers": 2, "heads": 2, "feed_forward": 24, "hidden": 12}


def head_of(keypoints: int = 3, canvas: tuple[int, int] | None = CANVAS, **changes: Any) -> TokenPoseHead:
    torch.manual_seed(0)
    skeleton = Skeleton(tuple(f"keypoint_{number}" for number in range(keypoints)))
    head = TokenPoseHead(6, 4, skeleton, canvas, heatmap_loss=mean_squared_error, **{**SMALL, **changes}).eval()
    last = head.heatmap_layers.maps[-1]
    nn.init.normal_(last.weight, std=0.5)  # it begins with nearly empty maps, in which nothing can be compared
    return head


def features_of(count: int = 2) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 6, 8, 12)


@torch.no_grad()
@pytest.mark.parametrize("keypoints", [1, 4, 24])
def test_any_number_of_keypoints_gets_a_map_each(keypoints: int) -> None:
    assert head_of(keypoints)(features_of()).heatmaps.shape == (2, keypoints, 8, 12)


@pytest.mark.parametrize("feed_forward", [1, 3, 29, 577])
def test_the_width_within_a_layer_is_feed_forward(feed_forward: int) -> None:
    assert head_of(width=98, heads=1, feed_forward=feed_forward).heatmap_layers.groups[0][0].mlp.fc1.out_features == (
        feed_forward
    )


@torch.no_grad()
def test_patches_are_cut_and_projected_as_the_paper_writes_it() -> None:
    head = head_of()
    embed = head.heatmap_layers.embed
    cut = features_of().unflatten(2, (4, 2)).unflatten(4, (4, 3))  # (B, C, rows, 2, columns, 3)
    patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # (B, patches, 2 · 3 · C)
    linear = embed.weight.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(embed(features_of()).flatten(2).mT, patches @ linear.T + embed.bias)


@torch.no_grad()
def test_maps_follow_their_tokens() -> None:
    head, order = head_of(), [2, 0, 1]
    before = head(features_of()).heatmaps
    head.heatmap_layers.tokens.copy_(head.heatmap_layers.tokens[:, order])
    torch.testing.assert_close(head(features_of()).heatmaps, before[:, order])


@torch.no_grad()
@pytest.mark.parametrize(
    ("changes", "repeats"),
    [
        ({}, [True, True]),
        ({"repeat_positions_from": 1}, [True, False]),
        ({"groups": 2}, [True, True, False, True]),
        ({"groups": 2, "repeat_positions_from": 1}, [True, False, False, True]),
    ],
)
def test_positions_are_added_again_in_the_right_layers(changes: dict[str, int], repeats: list[bool]) -> None:
    """A layer that adds nothing hands on what it is given, so each difference is what was repeats in between."""
    head = head_of(**changes)
    network, seen = head.heatmap_layers, []
    blocks = [block for group in network.groups for block in group]
    for block in blocks:
        block.attn.proj.weight.zero_(), block.attn.proj.bias.zero_()
        block.mlp.fc2.weight.zero_(), block.mlp.fc2.bias.zero_()
        block.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    head(features_of())
    start = torch.cat((network.tokens.expand(2, -1, -1), network.embed(features_of()).flatten(2).mT), dim=1)
    positions = torch.cat((torch.zeros(3, 16), sine_pos_embed((4, 4), 16).flatten(end_dim=1)))
    for before, after, is_repeats in zip((start, *seen), seen, repeats, strict=False):
        torch.testing.assert_close(after - before, (positions * is_repeats).expand_as(after), atol=1e-5, rtol=0)
    assert len(seen) == len(repeats)


@torch.no_grad()
def test_attention_is_that_of_the_keypoints_to_the_patches() -> None:
    head = head_of(groups=2)
    attend = head.heatmap_layers.groups[1][0].attn
    attend.fused_attn = False
    seen: list[torch.Tensor] = []
    attend.attn_drop.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    shares = head.attention_maps(features_of(), torch.zeros(2, 3, 2), 2)
    assert shares.shape == (2, 3, 4, 4)
    torch.testing.assert_close(shares.flatten(2), seen[0].mean(dim=1)[:, :3, 3:])
    assert not attend._forward_pre_hooks
    with pytest.raises(IndexError):
        head.attention_maps(features_of(), torch.zeros(2, 3, 2), 4)


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from((2, 4, 8)),
)
def test_the_size_that_the_error_suggests_fits(sides: tuple[int, int], patch: tuple[int, int], stride: int) -> None:
    def build(canvas: tuple[int, int]) -> TokenPoseHead:
        small = {**SMALL, "patch": patch, "layers": 1, "hidden": None}
        return TokenPoseHead(1, stride, Skeleton(("nose",)), canvas, heatmap_loss=mean_squared_error, **small)

    canvas = (sides[0] * stride, sides[1] * stride)
    try:
        head = build(canvas)
    except ConfigError as error:
        words = dict(word.rstrip(",").split("=") for word in str(error).split() if word.startswith("input."))
        canvas = (int(words["input.height"]), int(words["input.width"]))
        assert all(new >= old for new, old in zip(canvas, (sides[0] * stride, sides[1] * stride), strict=True))
        head = build(canvas)
    maps = head(torch.randn(1, 1, canvas[0] // stride, canvas[1] // stride)).heatmaps
    assert maps.shape == (1, 1, canvas[0] // 4, canvas[1] // 4)


def test_inputs_without_one_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="input=resize"):
        head_of(canvas=None)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"patch": [4]}, ConfigError, "head.patch"),
        ({"patch": [3, 3]}, ConfigError, "head.patch"),
        ({"width": 20, "heads": 3}, ValueError, "heads"),
        ({"layers": 0}, ValueError, "layers"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        head_of(**changes)


def test_features_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="8x12"):
        head_of()(features_of()[..., :6])
