"""DEKR: centers of animals, and offsets to each keypoint by adaptive convolutions of its own (Geng et al. 2021)."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn import functional

from dlcpose.codecs.affine import cells_from_pixels, length_in_cells, pixels_from_cells
from dlcpose.codecs.dekr_targets import animal_centers, draw_center_offsets, find_centers, pose_extents
from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.graph_steps import GraphStep, PoseNms
from dlcpose.codecs.offsets import as_vectors
from dlcpose.codecs.peaks import refine_to_peak, sample_bilinear, values_at
from dlcpose.heads.base import Head
from dlcpose.layers.adaptive_conv import AdaptiveConvBlock
from dlcpose.layers.bounded_sigmoid import bounded_sigmoid
from dlcpose.layers.initialization import init_background, init_near_zero
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton

CANDIDATES = 4  # per animal that may be predicted: several cells can hold one animal
# Cells that an output of 1 stands for. Adam moves a weight by at most its learning rate in a step: if the last layer gave
# cells themselves, its weights would need a thousand steps to reach keypoints ten cells away.
CELLS_PER_UNIT = 10.0


class DekrMaps(NamedTuple):
    """Predictions and targets of a DEKR head."""

    centers: Tensor  # (B, 1, h, w) in [0, 1]
    heatmaps: Tensor  # (B, K, h, w) in [0, 1]
    offsets: Tensor  # (B, K, 2, h, w) keypoint − cell, in cells, of the animal centered there; NaN where unsupervised


class DekrHead(Head):
    """Heatmaps of centers and keypoints, and at each center the offsets to its animal's keypoints.

    channels: of the heatmap branch; None is a fifteenth of in_channels, at least 16, which is the width of HRNet's first
    branch. offset_channels: of each keypoint's offset branch. sigma, center_sigma: of the Gaussians, input pixels, at least
    a cell. offset_radius: half the side of the square around a center where offsets are supervised, input pixels, at least
    a cell. offset_weight: of their loss; the paper's 0.03 belongs to squared errors, beside cross entropy offsets would
    learn far too slowly. heatmap_loss: of (pred, target) maps, NaN where unsupervised. max_animals: per image.
    threshold: minimum score of a center. nms_oks: of two poses with this OKS or more the one with the higher score is kept.
    snap_radius: keypoints move to the peak of their heatmap within this many input pixels; 0 leaves them.
    """

    multi_animal: ClassVar[bool] = True
    max_animals: int

    def __init__(
        self,
        in_channels: int,
        stride: float,
        skeleton: Skeleton,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        channels: int | None = None,
        offset_channels: int = 15,
        sigma: float = 8.0,
        center_sigma: float = 16.0,
        offset_radius: float = 16.0,
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
        self.stride, self.oks_sigmas, self.heatmap_loss = stride, skeleton.sigmas, heatmap_loss
        self.sigma_in_map = length_in_cells(sigma, stride)
        self.center_sigma_in_map = length_in_cells(center_sigma, stride)
        self.offset_radius_in_map = length_in_cells(offset_radius, stride)
        self.snap_radius_in_map = snap_radius / stride
        self.offset_weight = offset_weight
        self.max_animals, self.threshold, self.nms_oks = max_animals, threshold, nms_oks
        self.heatmap_layers = nn.Sequential(
            *_pointwise(in_channels, channels), BasicBlock(channels, channels), nn.Conv2d(channels, keypoints + 1, 1)
        )
        self.offset_layers = nn.Sequential(
            *_pointwise(in_channels, keypoints * offset_channels),
            AdaptiveConvBlock(keypoints, offset_channels),
            AdaptiveConvBlock(keypoints, offset_channels),
            nn.Conv2d(keypoints * offset_channels, keypoints * 2, 1, groups=keypoints),
        )
        init_background(self.heatmap_layers)
        init_near_zero(self.offset_layers)

    def forward(self, features: Tensor) -> DekrMaps:
        """Predicted maps from features (B, C, h, w)."""
        heatmaps = bounded_sigmoid(self.heatmap_layers(features))
        offsets = CELLS_PER_UNIT * as_vectors(self.offset_layers(features).float())
        return DekrMaps(heatmaps[:, -1:], heatmaps[:, :-1], offsets)

    def encode(self, batch: PoseBatch) -> DekrMaps:
        """Gaussians at centers and keypoints, and around each center the offsets to its animal's keypoints."""
        points_in_map = cells_from_pixels(batch.keypoints_in_crop, self.stride)  # (B, N, K, 2)
        size = self.map_size(batch)
        centers_in_map = animal_centers(points_in_map, size)  # (B, N, 2)
        return DekrMaps(
            draw_gaussians(centers_in_map[:, :, None], self.center_sigma_in_map, size),
            draw_gaussians(points_in_map, self.sigma_in_map, size),
            draw_center_offsets(points_in_map, centers_in_map, self.offset_radius_in_map, size),
        )

    def loss(self, maps: DekrMaps, targets: DekrMaps) -> dict[str, Tensor]:
        """The loss of the heatmaps, centers among them, and of the offsets in units of their animal's size."""
        heatmaps = torch.cat((maps.heatmaps, maps.centers), dim=1)
        target_heatmaps = torch.cat((targets.heatmaps, targets.centers), dim=1)
        offset_loss = _offset_loss(maps.offsets, targets.offsets, self.offset_radius_in_map)
        return {
            "heatmap": self.heatmap_loss(heatmaps, target_heatmaps),
            "offset": self.offset_weight * offset_loss,
        }

    def decode(self, maps: DekrMaps) -> list[PoseInstances]:
        """The pose at each center, after pose NMS; a keypoint's score is its center's times its heatmap's."""
        cells, scores = self._centers(maps)
        count = int((scores >= self.threshold).sum(dim=1).max())  # (B, P) are in falling order
        return self.graph_step()([], self._poses_at(maps, cells[:, :count], scores[:, :count]))

    def graph_outputs(self, maps: DekrMaps) -> dict[str, Tensor]:
        """The pose at each candidate center (B, P, K, 2) in input pixels, and scores: the keypoints' and the centers'."""
        return self._poses_at(maps, *self._centers(maps))

    def graph_step(self) -> GraphStep:
        """Pose NMS among the candidates."""
        # An animal is at least as large as the square of cells that hold it: with less, poses a cell apart would all be
        # kept.
        min_area = (2 * self.offset_radius_in_map * self.stride) ** 2
        return PoseNms(self.threshold, self.nms_oks, min_area, self.max_animals, tuple(self.oks_sigmas))

    def _centers(self, maps: DekrMaps) -> tuple[Tensor, Tensor]:
        """Cells (B, P, 2) that may be an animal's center, and their scores (B, P), falling."""
        centers = maps.centers[:, 0].nan_to_num(0.0)
        return find_centers(centers, maps.offsets, self.center_sigma_in_map, CANDIDATES * self.max_animals)

    def _poses_at(self, maps: DekrMaps, cells: Tensor, scores: Tensor) -> dict[str, Tensor]:
        """The poses of centers in some cells (B, P, 2) with these scores (B, P)."""
        of_keypoints = cells[:, None].expand(-1, maps.offsets.shape[1], -1, -1)  # (B, K, P, 2)
        points_in_map = of_keypoints + values_at(maps.offsets, of_keypoints)
        heatmaps = maps.heatmaps.nan_to_num(0.0)
        if self.snap_radius_in_map > 0:
            points_in_map = refine_to_peak(heatmaps, points_in_map, self.snap_radius_in_map)
        keypoint_scores = (scores[:, None] * sample_bilinear(heatmaps, points_in_map)).clamp(0, 1).transpose(1, 2)
        keypoints_in_crop = pixels_from_cells(points_in_map, self.stride).transpose(1, 2)  # (B, P, K, 2)
        return {"keypoints": keypoints_in_crop, "keypoint_scores": keypoint_scores, "scores": scores}


def _offset_loss(pred: Tensor, target: Tensor, min_extent: float) -> Tensor:
    """Mean smooth L1 over supervised elements, in units of their animal's extent (at least `min_extent` cells): a scalar."""
    extents = pose_extents(target, dim=1).nan_to_num(min_extent).clamp(min=min_extent)  # (B, h, w)
    supervised = ~target.isnan()
    # NaN leaves before the subtraction: masking afterward cleans the loss but not its gradient (0 · NaN is NaN).
    pred, target = pred.float().where(supervised, 0.0), target.where(supervised, 0.0)
    values = functional.smooth_l1_loss(pred, target, beta=1 / 9, reduction="none")
    return (values / extents[:, None, None]).sum() / supervised.sum().clamp(min=1)


def _pointwise(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
