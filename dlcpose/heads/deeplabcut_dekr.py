"""DeepLabCut 3's DEKR head: linear heatmaps, and its selection of centers and NMS of poses."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.affine import pixels_from_cells
from dlcpose.codecs.deeplabcut_poses import DeepLabCutPoses
from dlcpose.codecs.offsets import as_vectors
from dlcpose.codecs.peaks import values_at
from dlcpose.heads.dekr import CELLS_PER_UNIT, DekrHead, DekrMaps
from dlcpose.layers.bounded_sigmoid import bounded_sigmoid
from dlcpose.layers.initialization import init_near_zero
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton

WINDOW = 5  # cells around a center in which it is the highest


class DeepLabCutDekrHead(DekrHead):
    """DeepLabCut 3's `DEKRHead`, whose snapshots it reads: the same maps, and the same animals from them.

    sigmoid: whether heatmaps are the sigmoid of the outputs, else the outputs themselves. nms_threshold: of two poses
    with a keypoint nearer to each other than this share of the second's size, the second is dropped, also by one that
    is dropped itself; None keeps all. use_heatmap_score, use_center_score: what a keypoint's score is the product of, 1
    without both. pixel_shift: of coordinates, input pixels. There are always max_animals poses before NMS; those that it
    keeps come in DeepLabCut's order, the highest center last. The rest as in DekrHead.
    """

    def __init__(
        self,
        in_channels: int,
        stride: float,
        skeleton: Skeleton,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        channels: int | None = None,
        offset_channels: int = 15,
        sigmoid: bool = False,
        nms_threshold: float | None = 0.05,
        use_heatmap_score: bool = True,
        use_center_score: bool = True,
        pixel_shift: float = 0.5,
        sigma: float = 8.5,
        center_sigma: float = 17.0,
        offset_radius: float = 17.0,
        offset_weight: float = 0.03,
        max_animals: int = 30,
    ) -> None:
        super().__init__(
            in_channels,
            stride,
            skeleton,
            heatmap_loss=heatmap_loss,
            channels=channels,
            offset_channels=offset_channels,
            sigma=sigma,
            center_sigma=center_sigma,
            offset_radius=offset_radius,
            offset_weight=offset_weight,
            max_animals=max_animals,
        )
        self.sigmoid, self.nms_threshold, self.pixel_shift = sigmoid, nms_threshold, pixel_shift
        self.use_heatmap_score, self.use_center_score = use_heatmap_score, use_center_score
        if not sigmoid:
            init_near_zero(self.heatmap_layers)

    def forward(self, features: Tensor) -> DekrMaps:
        """Predicted maps from features (B, C, h, w); the heatmaps may leave [0, 1] a little without a sigmoid."""
        heatmaps = self.heatmap_layers(features).float()
        heatmaps = bounded_sigmoid(heatmaps) if self.sigmoid else heatmaps
        offsets = CELLS_PER_UNIT * as_vectors(self.offset_layers(features).float())
        return DekrMaps(heatmaps[:, -1:], heatmaps[:, :-1], offsets)

    def encode(self, batch: PoseBatch) -> DekrMaps:
        """As DekrHead, with coordinates counted as DeepLabCut does."""
        return super().encode(replace(batch, keypoints_in_crop=batch.keypoints_in_crop - self.pixel_shift))

    def decode(self, maps: DekrMaps) -> list[PoseInstances]:
        """The poses at the highest centers, without those that NMS drops."""
        return self.graph_step()([], self.graph_outputs(maps))

    def graph_step(self) -> DeepLabCutPoses:
        """DeepLabCut's NMS of poses."""
        return DeepLabCutPoses(self.nms_threshold)

    def graph_outputs(self, maps: DekrMaps) -> dict[str, Tensor]:
        """The poses at the highest centers (B, P, K, 2) in input pixels, and their keypoints' scores (B, P, K)."""
        centers = maps.centers[:, 0].nan_to_num(0.0)  # (B, h, w)
        is_peak = functional.max_pool2d(centers[:, None], WINDOW, stride=1, padding=WINDOW // 2)[:, 0] == centers
        count = min(self.max_animals, centers[0].numel())
        scores, places = (centers * is_peak).flatten(start_dim=1).topk(count, dim=1)  # (B, P) each
        width = centers.shape[-1]
        cells = torch.stack((places % width, places // width), dim=-1)  # (B, P, 2)
        of_keypoints = cells[:, None].expand(-1, maps.offsets.shape[1], -1, -1)  # (B, K, P, 2)
        points_in_map = of_keypoints + values_at(maps.offsets, of_keypoints)
        keypoint_scores = torch.ones_like(points_in_map[..., 0])  # (B, K, P)
        if self.use_center_score:
            keypoint_scores = keypoint_scores * scores[:, None]
        if self.use_heatmap_score:
            keypoint_scores = keypoint_scores * _values_below(maps.heatmaps.nan_to_num(0.0), points_in_map)
        keypoints_in_crop = pixels_from_cells(points_in_map, self.stride) + self.pixel_shift
        return {
            "keypoints": keypoints_in_crop.transpose(1, 2),
            "keypoint_scores": keypoint_scores.transpose(1, 2).clamp(0, 1),
        }


def _values_below(maps: Tensor, points_in_map: Tensor) -> Tensor:
    """Values at the cells that points are rounded down to, clamped to the map: (B, K, h, w), (B, K, P, 2) -> (B, K, P)."""
    height, width = maps.shape[-2:]
    x = points_in_map[..., 0].nan_to_num(0.0).floor().clamp(0, width - 1).long()
    y = points_in_map[..., 1].nan_to_num(0.0).floor().clamp(0, height - 1).long()
    return maps.flatten(start_dim=2).gather(-1, y * width + x)
