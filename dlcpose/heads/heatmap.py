"""Heatmaps of one animal's keypoints, with optional location refinement (Insafutdinov et al. 2016)."""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from dlcpose.codecs.affine import (
    aligned_cells_from_pixels,
    aligned_pixels_from_cells,
    cells_from_pixels,
    length_in_cells,
    pixels_from_cells,
)
from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.graph_steps import SingleAnimal
from dlcpose.codecs.offsets import MIN_RADIUS, as_vectors, draw_offsets
from dlcpose.codecs.peaks import find_global_peaks, into_shown, only_shown, refine_peaks, values_at
from dlcpose.codecs.soft_argmax import soft_peaks
from dlcpose.heads.base import Head, SoftKeypoints
from dlcpose.layers.bounded_sigmoid import bounded_sigmoid
from dlcpose.layers.deconv import deconvolutions as stacked_deconvolutions
from dlcpose.layers.initialization import init_background, init_near_zero
from dlcpose.losses.offsets import huber
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton


class HeatmapMaps(NamedTuple):
    """Predictions and targets of a heatmap head."""

    heatmaps: Tensor  # (B, K, h, w) in [0, 1]; NaN where unsupervised
    offsets: Tensor | None  # (B, K, 2, h, w) keypoint − cell, in cells; NaN where unsupervised


class HeatmapHeadBase(Head):
    """Targets, loss and decoding of one animal's heatmaps, whatever network predicts them.

    heatmap_layers: from features (B, C, h, w) to (B, K, h', w') before the sigmoid, one map per keypoint. sigmoid: whether
    scores are the sigmoid of these outputs, else the outputs themselves.
    offset_layers: to (B, 2K, h', w'), or None for heatmaps alone. stride: input pixels per cell of the maps.
    heatmap_loss: of (pred, target) maps, NaN where unsupervised. sigma: of a keypoint's Gaussian, input pixels, at least a
    cell. ignore_missing: leave the map of a keypoint without a label unsupervised; else its target is empty.
    offset_radius: distance from a keypoint within which offsets are supervised, input pixels, at least
    `codecs.offsets.MIN_RADIUS` cells. offset_weight: of that loss. refinement: of the highest cells to a fraction of one,
    where there are no offsets. align_corners: whether the centers of the outermost cells are those of the outermost pixels,
    as in UDP (Huang et al. 2020), instead of cells covering the pixels evenly. pixel_shift: of coordinates against the
    pixels' centers, input pixels.
    """

    multi_animal: ClassVar[bool] = False
    decodes_softly: ClassVar[bool] = True

    def __init__(
        self,
        heatmap_layers: nn.Module,
        offset_layers: nn.Module | None,
        stride: float,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        sigma: float,
        ignore_missing: bool,
        offset_radius: float = 6.0,
        offset_weight: float = 0.1,
        sigmoid: bool = True,
        refinement: Callable[[Tensor, Tensor], Tensor] = refine_peaks,
        align_corners: bool = False,
        pixel_shift: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride, self.pixel_shift, self.align_corners = stride, pixel_shift, align_corners
        self.sigmoid, self.refinement = sigmoid, refinement
        self.heatmap_loss, self.ignore_missing, self.offset_weight = heatmap_loss, ignore_missing, offset_weight
        self.sigma_in_map = length_in_cells(sigma, stride)
        self.offset_radius_in_map = length_in_cells(offset_radius, stride, min_cells=MIN_RADIUS)
        self.heatmap_layers, self.offset_layers = heatmap_layers, offset_layers
        (init_background if sigmoid else init_near_zero)(self.heatmap_layers)

    def forward(self, features: Tensor) -> HeatmapMaps:
        """Predicted maps from features (B, C, h, w); without a sigmoid the heatmaps may leave [0, 1] a little."""
        heatmaps = self.heatmap_layers(features).float()
        heatmaps = bounded_sigmoid(heatmaps) if self.sigmoid else heatmaps
        if self.offset_layers is None:
            return HeatmapMaps(heatmaps, None)
        return HeatmapMaps(heatmaps, as_vectors(self.offset_layers(features).float()))

    def encode(self, batch: PoseBatch) -> HeatmapMaps:
        """Gaussians at the keypoints, and the offsets to them near by."""
        points_in_map = self._cells(batch.keypoints_in_crop - self.pixel_shift, self.map_size(batch))  # (B, N, K, 2)
        heatmaps = draw_gaussians(points_in_map, self.sigma_in_map, self.map_size(batch))
        if self.ignore_missing:
            missing = points_in_map.isnan().any(dim=-1).all(dim=1)  # (B, K)
            heatmaps = heatmaps.masked_fill(missing[..., None, None], math.nan)
        if self.offset_layers is None:
            return HeatmapMaps(heatmaps, None)
        return HeatmapMaps(heatmaps, draw_offsets(points_in_map, self.offset_radius_in_map, self.map_size(batch)))

    def loss(self, maps: HeatmapMaps, targets: HeatmapMaps) -> dict[str, Tensor]:
        """The loss of the heatmaps and, where there are offsets, of those."""
        losses = {"heatmap": self.heatmap_loss(maps.heatmaps, targets.heatmaps)}
        if maps.offsets is not None and targets.offsets is not None:
            losses["offset"] = self.offset_weight * huber(maps.offsets, targets.offsets)
        return losses

    def decode(self, maps: HeatmapMaps) -> list[PoseInstances]:
        """The highest peak of each map, whatever its score; NaN, with a score of 0, where a map has values that are NaN."""
        return self.graph_step()([], self.graph_outputs(maps))

    def soft_keypoints(self, maps: HeatmapMaps) -> SoftKeypoints:
        """The mean cells of the heatmaps, and their highest values. Offsets, which mean nothing far from a peak, are left."""
        points = self._pixels(soft_peaks(maps.heatmaps), maps.heatmaps) + self.pixel_shift
        return SoftKeypoints(points, maps.heatmaps.detach().flatten(start_dim=2).amax(dim=-1).clamp(0, 1))

    def decode_shown(self, maps: HeatmapMaps, shown: Sequence[tuple[int, int]]) -> list[PoseInstances]:
        """The highest peak of each map within what the image shows of its frame."""
        searched = only_shown(maps.heatmaps.nan_to_num(0.0), shown, self.stride)
        outputs = self._peaks_of(maps, searched)
        return self.graph_step()([], {**outputs, "keypoints": into_shown(outputs["keypoints"], shown)})

    def graph_outputs(self, maps: HeatmapMaps) -> dict[str, Tensor]:
        """The highest peaks (B, K, 2) in input pixels, and their scores (B, K)."""
        return self._peaks_of(maps, maps.heatmaps.nan_to_num(0.0))

    def _peaks_of(self, maps: HeatmapMaps, searched: Tensor) -> dict[str, Tensor]:
        is_broken = maps.heatmaps.sum(dim=(-2, -1)).isnan()  # (B, K)
        cells, scores = find_global_peaks(searched)  # (B, K, 2), (B, K)
        if maps.offsets is None:
            points_in_map = self.refinement(maps.heatmaps.nan_to_num(0.0), cells[:, :, None])[:, :, 0]
        else:
            points_in_map = cells + values_at(maps.offsets, cells[:, :, None])[:, :, 0]
        keypoints_in_crop = self._pixels(points_in_map, maps.heatmaps) + self.pixel_shift
        return {
            "keypoints": keypoints_in_crop.masked_fill(is_broken[..., None], math.nan),
            "keypoint_scores": scores.masked_fill(is_broken, 0.0).clamp(0, 1),
        }

    def graph_step(self) -> SingleAnimal:
        """One animal of the peaks."""
        return SingleAnimal()

    def _cells(self, points_in_crop: Tensor, size: tuple[int, int]) -> Tensor:
        if self.align_corners:
            return aligned_cells_from_pixels(points_in_crop, self.stride, size)
        return cells_from_pixels(points_in_crop, self.stride)

    def _pixels(self, points_in_map: Tensor, maps: Tensor) -> Tensor:
        if self.align_corners:
            return aligned_pixels_from_cells(points_in_map, self.stride, (maps.shape[-2], maps.shape[-1]))
        return pixels_from_cells(points_in_map, self.stride)


class HeatmapHead(HeatmapHeadBase):
    """Deconvolutions to a heatmap per keypoint and, with `offsets`, to its location refinement.

    deconvolutions: each doubles the resolution; 0 is a single 1x1 convolution. channels: between deconvolutions.
    offsets: predict offsets to the keypoint instead of refining the peak. The rest as in HeatmapHeadBase.
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
        sigma: float = 4.0,
        offsets: bool = True,
        offset_radius: float = 6.0,
        offset_weight: float = 0.1,
        ignore_missing: bool = False,
    ) -> None:
        if deconvolutions < 0:
            raise ValueError(f"expected 0 or more deconvolutions, got {deconvolutions}")

        def layers(out_channels: int) -> nn.Module:
            return stacked_deconvolutions(in_channels, channels, out_channels, deconvolutions, batch_norm=True)

        super().__init__(
            layers(len(skeleton)),
            layers(2 * len(skeleton)) if offsets else None,
            stride / 2**deconvolutions,
            heatmap_loss=heatmap_loss,
            sigma=sigma,
            ignore_missing=ignore_missing,
            offset_radius=offset_radius,
            offset_weight=offset_weight,
        )
