"""DeepLabCut's conditioned attention on maps that are not square, written out with torchvision's resizing."""

import math

import torch
from torch import Tensor
from torchvision.transforms.functional import resize

from dlcpose.fusions.base import PEAK
from dlcpose.fusions.deeplabcut_coam import ResizedAttention


def attended(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return (queries @ keys.mT / math.sqrt(keys.shape[-1])).softmax(dim=-1) @ values


def test_the_condition_is_convolved_lying_on_its_side() -> None:
    torch.manual_seed(0)
    channels, (h, w), condition_channels = 4, (6, 4), 2
    module = ResizedAttention(channels, (h, w), condition_channels, dropout=0.5).eval()
    features, rendered = torch.randn(1, channels, h, w), torch.rand(1, condition_channels, 4 * h, 4 * w) / PEAK
    with torch.no_grad():
        condition = resize(PEAK * rendered, [w, h])  # rows, columns
        cells = module.spatial_conv(features).reshape(1, channels, h * w).mT
        queries = module.spatial_condition_conv(condition).reshape(1, condition_channels, h * w).mT
        by_cell = attended(module.to_queries(queries), module.to_keys(cells), module.to_values(cells))
        planes = module.channel_conv(features).reshape(1, channels, h * w)
        queries = module.channel_condition_conv(condition).reshape(1, channels, h * w)
        by_channel = module.channel_out(attended(queries, planes, planes))
        expected = features + (module.spatial_out(by_cell).mT + by_channel).reshape(1, channels, h, w)
        torch.testing.assert_close(module(features, rendered), expected, atol=1e-5, rtol=1e-5)
