"""Centres of animals and, for each keypoint, the way there by a network of its own (DEKR, Geng et al. 2021)."""

import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn import functional

from dlcpose.codecs.affine import cells_from_pixels, pixels_from_cells
from dlcpose.codecs.dekr_targets import animal_centers, draw_center_offsets, find_centers, pose_extents
from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.peak_refinement import refine_to_peak, sample_bilinear
from dlcpose.codecs.peaks import values_at
from dlcpose.codecs.pose_nms import pose_nms, pose_similarity
from dlcpose.heads.base import Head
from dlcpose.layers.adaptive_conv import AdaptiveConvBlock
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton

CANDIDATES = 4  # for each animal that may be found: several cells can speak of one
# Cells for which an output of 1 stands. Adam moves a weight by no more than its rate in a step: if the last layer gave
# cells themselves, its weights would need a thousand steps to reach keypoints ten cells away.
CELLS_PER_UNIT = 10.0


class DekrMaps(NamedTuple):
    """What a DEKR head finds, and is asked to find."""

    centers: Tensor  # (B, 1, h, w) in [0, 1]
    heatmaps: Tensor  # (B, K, h, w) in [0, 1]
    displacements: (
        Tensor  # (B, K, 2, h, w) cell − keypoint, in cells, of the animal centred there; NaN where nothing is asked
    )


class DekrHead(Head):
    """Animals as centres, with offsets to their keypoints from adaptive convolutions, and heatmaps to judge them by.

    channels: of the heatmaps' branch; None is a fifteenth of what comes in, 16 at least, which is the width of HRNet's
    first branch. offset_channels: of each keypoint's own branch. sigma, center_sigma: widths of the Gaussians, in cells.
    offset_radius: half the side of the square around a centre where offsets are asked, in cells. offset_weight: of their
    loss; the paper's 0.03 stands beside a squared error, beside cross entropy offsets would learn far too slowly.
    heatmap_loss: of (found, wanted) maps, NaN where nothing is asked. max_animals: most that are found in an image.
    threshold: least value of a centre. duplicate: two poses with this OKS or more are one animal. snap_radius: keypoints
    go to the summit of their heatmap where one is so near, in cells; 0 leaves them.
    """

    multi_animal: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        stride: float,
        skeleton: Skeleton,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        channels: int | None = None,
        offset_channels: int = 15,
        sigma: float = 2.0,
        center_sigma: float = 4.0,
        offset_radius: float = 4.0,
        offset_weight: float = 0.3,
        max_animals: int = 30,
        threshold: float = 0.1,
        nms_oks: float = 0.7,
        snap_radius: float = 0.0,
    ) -> None:
        super().__init__()
        if max_animals < 1:
            raise ValueError(f"expected max_animals of 1 or more, got {max_animals}")
        keypoints = len(skeleton)
        channels = max(16, in_channels // 15) if channels is None else channels
        self.stride, self.sigmas, self.heatmap_loss = stride, skeleton.sigmas, heatmap_loss
        self.sigma, self.center_sigma = sigma, center_sigma
        self.offset_radius, self.offset_weight = offset_radius, offset_weight
        self.max_animals, self.threshold = max_animals, threshold
        self.nms_oks, self.snap_radius = nms_oks, snap_radius
        self.heatmap_layers = nn.Sequential(
            *_pointwise(in_channels, channels), BasicBlock(channels, channels), nn.Conv2d(channels, keypoints + 1, 1)
        )
        self.way_layers = nn.Sequential(
            *_pointwise(in_channels, keypoints * offset_channels),
            AdaptiveConvBlock(keypoints, offset_channels),
            AdaptiveConvBlock(keypoints, offset_channels),
            nn.Conv2d(keypoints * offset_channels, keypoints * 2, 1, groups=keypoints),
        )
        _begin_small(self.heatmap_layers[-1], math.log(0.01 / 0.99))  # nearly all cells are background
        _begin_small(self.way_layers[-1], 0.0)

    def forward(self, features: Tensor) -> DekrMaps:
        """Maps of features (B, C, h, w)."""
        heatmaps = self.heatmap_layers(features).float().sigmoid()
        displacements = CELLS_PER_UNIT * self.way_layers(features).float().unflatten(1, (-1, 2))
        return DekrMaps(heatmaps[:, -1:], heatmaps[:, :-1], displacements)

    def encode(self, batch: PoseBatch) -> DekrMaps:
        """Gaussians at centres and keypoints, and around each centre the ways to its animal's keypoints."""
        points_in_map = cells_from_pixels(batch.keypoints_in_crop, self.stride)  # (B, N, K, 2)
        size = (round(batch.images.shape[-2] / self.stride), round(batch.images.shape[-1] / self.stride))
        centers_in_map = animal_centers(points_in_map, size)  # (B, N, 2)
        return DekrMaps(
            draw_gaussians(centers_in_map[:, :, None], self.center_sigma, size),
            draw_gaussians(points_in_map, self.sigma, size),
            draw_center_offsets(points_in_map, centers_in_map, self.offset_radius, size),
        )

    def loss(self, maps: DekrMaps, wanted: DekrMaps) -> dict[str, Tensor]:
        """The heatmaps' loss, centres among them, and that of the offsets in units of their animal's size."""
        found_heatmaps = torch.cat((maps.heatmaps, maps.centers), dim=1)
        wanted_heatmaps = torch.cat((wanted.heatmaps, wanted.centers), dim=1)
        return {
            "heatmap": self.heatmap_loss(found_heatmaps, wanted_heatmaps),
            "offset": self.offset_weight * _offset_loss(maps.displacements, wanted.displacements, self.offset_radius),
        }

    def decode(self, maps: DekrMaps) -> list[PoseInstances]:
        """The pose at each centre, unless a surer one tells of the same animal."""
        centers = maps.centers[:, 0].nan_to_num(0.0)
        cells, values = find_centers(centers, maps.displacements, self.center_sigma, CANDIDATES * self.max_animals)
        most = int((values >= self.threshold).sum(dim=1).max())  # (B, P) are in falling order
        cells, values = cells[:, :most], values[:, :most]
        places = cells[:, None].expand(-1, maps.displacements.shape[1], -1, -1)  # (B, K, P, 2)
        points_in_map = places - values_at(maps.displacements, places)
        heatmaps = maps.heatmaps.nan_to_num(0.0)
        if self.snap_radius > 0:
            points_in_map = refine_to_peak(heatmaps, points_in_map, self.snap_radius)
        keypoint_scores = (values[:, None] * sample_bilinear(heatmaps, points_in_map)).clamp(0, 1).transpose(1, 2)
        keypoints_in_crop = pixels_from_cells(points_in_map, self.stride).transpose(1, 2)  # (B, P, K, 2)
        return [
            self._distinct(points[value >= self.threshold], scores[value >= self.threshold])
            for points, scores, value in zip(keypoints_in_crop, keypoint_scores, values, strict=True)
        ]

    def _distinct(self, keypoints_in_crop: Tensor, keypoint_scores: Tensor) -> PoseInstances:
        """One image's animals: (P, K, 2), (P, K), of which at most max_animals unlike each other are left."""
        found = ~keypoints_in_crop.isnan().any(dim=-1)
        count = found.sum(dim=-1)
        scores = keypoint_scores.sum(dim=-1) / count.clamp(min=1)
        # An animal is at least as large as the square that speaks of it: below, poses a cell apart would all stay.
        min_area = (2 * self.offset_radius * self.stride) ** 2
        similarity = pose_similarity(keypoints_in_crop, self.sigmas, min_area)
        left = pose_nms(similarity, scores, self.nms_oks)
        left = left[count[left] > 0][: self.max_animals]
        return PoseInstances.from_keypoints(keypoints_in_crop[left], keypoint_scores[left], scores[left])


def _offset_loss(found: Tensor, wanted: Tensor, smallest: float) -> Tensor:
    """Smooth L1 over the asked elements, each divided by its animal's extent (at least `smallest` cells): a scalar."""
    extents = pose_extents(wanted, dim=1).nan_to_num(smallest).clamp(min=smallest)  # (B, h, w)
    asked = ~wanted.isnan()
    # NaN leaves before the subtraction: masking afterwards cleans the loss but not its gradient (0 · NaN is NaN).
    near, target = found.float().where(asked, 0.0), wanted.where(asked, 0.0)
    values = functional.smooth_l1_loss(near, target, beta=1 / 9, reduction="none")
    return (values / extents[:, None, None]).sum() / asked.sum().clamp(min=1)


def _pointwise(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _begin_small(layer: nn.Module, bias: float) -> None:
    if isinstance(layer, nn.Conv2d) and layer.bias is not None:
        nn.init.normal_(layer.weight, std=0.001)
        nn.init.constant_(layer.bias, bias)
