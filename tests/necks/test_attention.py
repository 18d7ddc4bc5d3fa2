"""TransPose's encoder against torch's layers: positions, attention, levels."""

import pytest
import torch
from torch import nn

from dlcpose.necks.attention import AttentionEncoder, EncoderLayer


def twin_of(layer: EncoderLayer) -> nn.TransformerEncoderLayer:
    """torch's own encoder layer with the same weights; it knows no positions."""
    width, hidden = layer.feed[0].in_features, layer.feed[0].out_features
    reference = nn.TransformerEncoderLayer(width, layer.attend.num_heads, hidden, dropout=0.0, batch_first=True)
    reference.self_attn.load_state_dict(layer.attend.state_dict())
    reference.linear1.load_state_dict(layer.feed[0].state_dict())
    reference.linear2.load_state_dict(layer.feed[3].state_dict())
    reference.norm1.load_state_dict(layer.first_norm.state_dict())
    reference.norm2.load_state_dict(layer.second_norm.state_dict())
    return reference.eval()


def neck_of(**settings: object) -> AttentionEncoder:
    torch.manual_seed(0)
    return AttentionEncoder((8, 12), (4, 8), **{"width": 16, "layers": 2, "heads": 2, "feed_forward": 24, **settings})


def levels(count: int = 2) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(count, 8, 6, 8), torch.randn(count, 12, 3, 4)]


@torch.no_grad()
def test_without_positions_a_layer_is_torchs() -> None:
    torch.manual_seed(0)
    layer, tokens = EncoderLayer(16, 2, 24, 0.1).eval(), torch.randn(2, 5, 16)
    torch.testing.assert_close(layer(tokens, torch.zeros(5, 16)), twin_of(layer)(tokens), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_positions_are_added_to_queries_and_keys_but_not_to_values() -> None:
    torch.manual_seed(0)
    layer, positions = EncoderLayer(16, 2, 24, 0.0).eval(), torch.randn(5, 16)
    alike = torch.randn(1, 1, 16).expand(1, 5, 16)  # where all values are one, it does not matter what is attended to
    torch.testing.assert_close(layer(alike, positions), layer(alike, torch.zeros(5, 16)))
    tokens = torch.randn(1, 5, 16)
    assert not torch.allclose(layer(tokens, positions), layer(tokens, torch.zeros(5, 16)), atol=1e-3)


@torch.no_grad()
def test_attention_is_that_of_the_layer() -> None:
    neck = neck_of(level=0).eval()
    points = torch.tensor([[[1.5, 1.5], [30.0, 22.0]]]).expand(2, -1, -1)  # cells (0, 0) and (7, 5) of 8x6
    shares = neck.attention_maps(levels(), points, -1)
    assert shares.shape == (2, 2, 6, 8)
    tokens, positions, _ = neck._tokens(levels())
    placed = (between := neck.layers[0](tokens, positions)) + positions
    _, expected = neck.layers[1].attend(placed, placed, between)
    torch.testing.assert_close(shares.flatten(2), expected[:, [0, 47]])
    with pytest.raises(IndexError):
        neck.attention_maps(levels(), points, 2)


@torch.no_grad()
def test_it_reads_one_level_at_its_size_and_stride() -> None:
    for level, (stride, size) in enumerate(((4, (6, 8)), (8, (3, 4)))):
        neck = neck_of(level=level).eval()
        assert (neck.out_channels, neck.stride) == (16, stride)
        before = neck(levels())
        assert before.shape == (2, 16, *size)
        others = levels()
        others[1 - level] = torch.zeros(1)
        torch.testing.assert_close(neck(others), before)


@torch.no_grad()
def test_equal_cells_differ_by_their_position_alone() -> None:
    neck = neck_of(level=0).eval()
    same = [torch.randn(1, 8, 1, 1).expand(1, 8, 6, 8), torch.zeros(1)]
    # All values are one, so all cells stay alike; a single other cell is then seen differently from each place.
    assert neck(same).flatten(2).std(dim=-1).max() < 1e-5
    marked = same[0].clone()
    marked[..., 2, 3] = 3.0
    (seen,) = neck([marked, torch.zeros(1)])
    away = seen.flatten(1)[:, [index for index in range(48) if index != 2 * 8 + 3]]
    assert away.std(dim=-1).max() > 1e-3


@pytest.mark.parametrize("settings", [{"heads": 3}, {"layers": 0}, {"heads": 0}])
def test_invalid_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="heads that divide the width"):
        neck_of(**settings)
