"""A heatmap for each keypoint of one animal, with optional location refinement (Insafutdinov et al. 2016)."""

import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from dlcpose.codecs.affine import cells_from_pixels, pixels_from_cells
from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.offsets import draw_offsets
from dlcpose.codecs.peaks import find_global_peaks, refine_peaks, values_at
from dlcpose.heads.base import Head
from dlcpose.losses.offsets import huber
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton


class HeatmapMaps(NamedTuple):
    """What a heatmap head finds, and is asked to find."""

    heatmaps: Tensor  # (B, K, h, w) in [0, 1]
    offsets: Tensor | None  # (B, K, 2, h, w) cells from each cell to the keypoint, NaN where nothing is asked


class PeakHead(Head):
    """Targets, loss and decoding of one animal's heatmaps, whatever network makes them.

    heatmap_layers: from features (B, C, h, w) to (B, K, h', w') before the sigmoid, one map for each keypoint.
    offset_layers: to (B, 2K, h', w'), or None for heatmaps alone. stride: input pixels to a cell of the maps.
    heatmap_loss: of (found, wanted) maps, NaN where nothing is asked. sigma: width of a keypoint's Gaussian, in cells.
    ignore_missing: ask nothing of a keypoint that has no label; else its map must be empty.
    offset_radius: how far from a keypoint offsets are asked, in cells. offset_weight: of that loss.
    """

    multi_animal: ClassVar[bool] = False

    def __init__(
        self,
        heatmap_layers: nn.Module,
        offset_layers: nn.Module | None,
        stride: float,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        sigma: float,
        ignore_missing: bool,
        offset_radius: float = 3.0,
        offset_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.heatmap_loss, self.sigma, self.ignore_missing = heatmap_loss, sigma, ignore_missing
        self.offset_radius, self.offset_weight = offset_radius, offset_weight
        self.heatmap_layers, self.offset_layers = heatmap_layers, offset_layers
        _expect_background(self.heatmap_layers)

    def forward(self, features: Tensor) -> HeatmapMaps:
        """Maps of features (B, C, h, w)."""
        heatmaps = self.heatmap_layers(features).float().sigmoid()
        if self.offset_layers is None:
            return HeatmapMaps(heatmaps, None)
        return HeatmapMaps(heatmaps, self.offset_layers(features).float().unflatten(1, (-1, 2)))

    def encode(self, batch: PoseBatch) -> HeatmapMaps:
        """Gaussians at the keypoints, and the ways to them near by."""
        points_in_map = cells_from_pixels(batch.keypoints_in_crop, self.stride)  # (B, N, K, 2)
        size = (round(batch.images.shape[-2] / self.stride), round(batch.images.shape[-1] / self.stride))
        heatmaps = draw_gaussians(points_in_map, self.sigma, size)
        if self.ignore_missing:
            missing = points_in_map.isnan().any(dim=-1).all(dim=1)  # (B, K)
            heatmaps = heatmaps.masked_fill(missing[..., None, None], math.nan)
        if self.offset_layers is None:
            return HeatmapMaps(heatmaps, None)
        return HeatmapMaps(heatmaps, draw_offsets(points_in_map, self.offset_radius, size))

    def loss(self, maps: HeatmapMaps, wanted: HeatmapMaps) -> dict[str, Tensor]:
        """The heatmaps' loss and, where there are offsets, theirs."""
        losses = {"heatmap": self.heatmap_loss(maps.heatmaps, wanted.heatmaps)}
        if maps.offsets is not None and wanted.offsets is not None:
            losses["offset"] = self.offset_weight * huber(maps.offsets, wanted.offsets)
        return losses

    def decode(self, maps: HeatmapMaps) -> list[PoseInstances]:
        """The highest peak of each map: every keypoint has a place, its score says how much it is worth."""
        cells, scores = find_global_peaks(maps.heatmaps.nan_to_num(0.0))  # (B, K, 2), (B, K)
        if maps.offsets is None:
            points_in_map = refine_peaks(maps.heatmaps.nan_to_num(0.0), cells[:, :, None])[:, :, 0]
        else:
            points_in_map = cells + values_at(maps.offsets, cells[:, :, None])[:, :, 0]
        keypoints_in_crop = pixels_from_cells(points_in_map, self.stride)
        return [
            PoseInstances.from_keypoints(points[None], score.clamp(0, 1)[None])
            for points, score in zip(keypoints_in_crop, scores, strict=True)
        ]


class HeatmapHead(PeakHead):
    """Deconvolutions to one heatmap for each keypoint, and to two offset maps for each where asked.

    deconvolutions: each doubles the resolution; none is a single 1x1 convolution. channels: between deconvolutions.
    sigma: width of a keypoint's Gaussian, in cells. offsets: predict the way to the keypoint instead of interpolating
    the peak. offset_radius: how far from a keypoint offsets are asked, in cells. offset_weight: of that loss.
    ignore_missing: ask nothing of a keypoint that has no label; else its map must be empty.
    heatmap_loss: of (found, wanted) maps, NaN where nothing is asked.
    """

    def __init__(
        self,
        in_channels: int,
        stride: int,
        skeleton: Skeleton,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        deconvolutions: int = 1,
        channels: int = 256,
        sigma: float = 1.0,
        offsets: bool = True,
        offset_radius: float = 3.0,
        offset_weight: float = 0.1,
        ignore_missing: bool = False,
    ) -> None:
        if deconvolutions < 0:
            raise ValueError(f"expected 0 or more deconvolutions, got {deconvolutions}")
        super().__init__(
            _layers(in_channels, channels, len(skeleton), deconvolutions),
            _layers(in_channels, channels, 2 * len(skeleton), deconvolutions) if offsets else None,
            stride / 2**deconvolutions,
            heatmap_loss=heatmap_loss,
            sigma=sigma,
            ignore_missing=ignore_missing,
            offset_radius=offset_radius,
            offset_weight=offset_weight,
        )


def _layers(in_channels: int, channels: int, out_channels: int, deconvolutions: int) -> nn.Module:
    if deconvolutions == 0:
        return nn.Conv2d(in_channels, out_channels, 1)
    layers: list[nn.Module] = []
    for _ in range(deconvolutions - 1):
        layers += [_double(in_channels, channels, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        in_channels = channels
    return nn.Sequential(*layers, _double(in_channels, out_channels, bias=True))


def _double(in_channels: int, out_channels: int, bias: bool) -> nn.Module:
    """Exactly twice the height and width."""
    return nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias)


def _expect_background(layers: nn.Module) -> None:
    """Start where nearly all cells belong: without it the first epochs are spent on learning that maps are empty."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    last = [module for module in layers.modules() if isinstance(module, kinds)][-1]
    nn.init.normal_(last.weight, std=0.001)
    if last.bias is not None:
        nn.init.constant_(last.bias, math.log(0.01 / 0.99))
