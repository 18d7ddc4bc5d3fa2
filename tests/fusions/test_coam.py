"""Conditioned attention, against what others counted and what the paper's formulas give."""

import math

import pytest
import torch
from torch import nn

from dlcpose.fusions.base import PEAK
from dlcpose.fusions.coam import Coam, ConditionalAttention
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton
from tests.fusions.test_laws import parts_of


@pytest.mark.parametrize(("channels", "size", "condition_channels"), [(8, (6, 4), 5), (16, (4, 4), 3)])
def test_weights_are_as_many_as_the_paper_s_formula_has(
    channels: int, size: tuple[int, int], condition_channels: int
) -> None:
    module = ConditionalAttention(channels, size, condition_channels, dropout=0.1)
    cells, c = size[0] * size[1], condition_channels
    expected = cells**2 + cells + 21 * channels**2 + 10 * c * channels + 7 * channels + 9 * c**2 + c
    assert sum(weight.numel() for weight in module.parameters()) == expected


def test_it_is_the_two_attentions_written_out() -> None:
    """Softmax, products and sums by hand, cell by cell and channel by channel."""
    torch.manual_seed(0)
    channels, (h, w), condition_channels = 4, (3, 2), 2
    module = ConditionalAttention(channels, (h, w), condition_channels, dropout=0.5).eval()
    features, rendered = torch.randn(1, channels, h, w), torch.rand(1, condition_channels, 4 * h, 4 * w) / PEAK
    with torch.no_grad():
        attended_map = module(features, rendered)[0]
        condition = PEAK * rendered.view(1, condition_channels, h, 4, w, 4).mean(dim=(3, 5))

        def attended(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            rows = []
            for query in queries:
                weights = torch.stack([(query * key).sum() / math.sqrt(len(key)) for key in keys]).softmax(dim=0)
                rows.append((weights[:, None] * values).sum(dim=0))
            return torch.stack(rows)

        cells = module.spatial_conv(features)[0].reshape(channels, h * w).T
        queries_of_cells = module.to_queries(
            module.spatial_condition_conv(condition)[0].reshape(condition_channels, h * w).T
        )
        spatial = module.spatial_out(attended(queries_of_cells, module.to_keys(cells), module.to_values(cells))).T
        planes = module.channel_conv(features)[0].reshape(channels, h * w)
        queries_of_cells = module.channel_condition_conv(condition)[0].reshape(channels, h * w)
        channelwise = module.channel_out(attended(queries_of_cells, planes, planes))
    expected = features[0] + (spatial + channelwise).reshape(channels, h, w)
    torch.testing.assert_close(attended_map, expected, atol=1e-4, rtol=1e-4)


def test_it_stands_on_the_maps_that_go_into_the_stage() -> None:
    _, fusion = parts_of("coam", ("timm", "hrnet_w18_small", "stage3"))
    sizes = [(attend.to_keys.in_features, attend.size) for attend in fusion.attention]
    assert sizes == [(16, (16, 24)), (32, (8, 12)), (64, (4, 6))]  # strides 4, 8, 16 of 64x96


def test_unknown_stage_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"fusion\.before=stage9.*layer1.*fusion=prenet"):
        parts_of("coam", ("timm", "test_resnet", "stage9"))


def test_a_batch_norm_s_running_means_do_not_see_how_shapes_are_found() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    fusion = Coam(Skeleton(("a", "b")), (16, 24), backbone, before="1")
    assert fusion.attention[0].size == (4, 6)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
