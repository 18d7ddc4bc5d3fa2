"""ViTPose's decoders: upsampling keeps places, and published sizes."""

import pytest
import torch
from torch import nn

from dlcpose.codecs.affine import pixels_from_cells
from dlcpose.codecs.peaks import find_global_peaks, refine_peaks
from dlcpose.heads.heatmap import HeatmapHeadBase
from dlcpose.heads.vitpose import DeconvolutionHead, InterpolationHead
from dlcpose.losses.heatmap import mean_squared_error
from dlcpose.structures.skeleton import Skeleton

STRIDE = 16


def head_of(
    kind: type[HeatmapHeadBase], keypoints: int = 1, in_channels: int = 1, **settings: object
) -> HeatmapHeadBase:
    skeleton = Skeleton(tuple(f"keypoint_{number}" for number in range(keypoints)))
    return kind(in_channels, STRIDE, skeleton, heatmap_loss=mean_squared_error, **settings).eval()


def center_of_mass_in_pixels(head: HeatmapHeadBase, features: torch.Tensor) -> torch.Tensor:
    maps = head.heatmap_layers(features)[0, 0]
    maps = maps - maps.min()
    ys, xs = torch.meshgrid(*(torch.arange(float(side)) for side in maps.shape), indexing="ij")
    cell = torch.stack([(xs * maps).sum(), (ys * maps).sum()]) / maps.sum()
    return pixels_from_cells(cell, head.stride)


@torch.no_grad()
@pytest.mark.parametrize("kind", [DeconvolutionHead, InterpolationHead])
def test_a_lit_cell_stays_where_it_is(kind: type[HeatmapHeadBase]) -> None:
    head = head_of(kind, **({"channels": 1} if kind is DeconvolutionHead else {}))
    for layer in head.heatmap_layers:
        if isinstance(layer, nn.ConvTranspose2d):
            ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])  # bilinear upsampling as a deconvolution
            layer.weight.copy_(ramp[:, None] * ramp)
        if isinstance(layer, nn.Conv2d):
            layer.weight.zero_()
            layer.weight[..., layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1.0
            layer.bias.zero_()
    features = torch.zeros(1, 1, 7, 9)
    features[0, 0, 3, 5] = 1.0
    expected = pixels_from_cells(torch.tensor([5.0, 3.0]), STRIDE)
    torch.testing.assert_close(center_of_mass_in_pixels(head, features), expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("deconvolutions", [1, 2, 3])
def test_each_deconvolution_doubles(deconvolutions: int) -> None:
    head = head_of(DeconvolutionHead, 4, 6, deconvolutions=deconvolutions, channels=8)
    maps = head(torch.randn(2, 6, 3, 5))
    assert maps.heatmaps.shape == (2, 4, 3 * 2**deconvolutions, 5 * 2**deconvolutions)
    assert head.stride == STRIDE / 2**deconvolutions
    assert maps.offsets is None


def test_three_deconvolutions_on_a_resnet_are_simple_baselines() -> None:
    head = head_of(DeconvolutionHead, 17, 2048, deconvolutions=3)
    assert sum(weight.numel() for weight in head.parameters()) == 33_999_697 - 23_508_032


@torch.no_grad()
def test_it_starts_with_background() -> None:
    for kind in (DeconvolutionHead, InterpolationHead):
        maps = head_of(kind, 3, 8)(torch.randn(1, 8, 4, 4)).heatmaps
        torch.testing.assert_close(maps, torch.full_like(maps, 0.01), atol=0.005, rtol=0)
        cells, _ = find_global_peaks(maps)
        assert refine_peaks(maps, cells[:, :, None]).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "settings"), [(DeconvolutionHead, {"deconvolutions": -1}), (InterpolationHead, {"factor": 0})]
)
def test_sizes_of_no_upsampling_are_refused(kind: type[HeatmapHeadBase], settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="or more"):
        head_of(kind, **settings)
