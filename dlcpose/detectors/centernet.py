"""CenterNet (Zhou et al. 2019): a heatmap of box centers, and the box at each center."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss

from dlcpose.codecs.affine import cells_from_pixels
from dlcpose.codecs.peaks import highest_values
from dlcpose.detectors.base import Boxes, BoxRule, Detector, DetectorTraining, detect_by_size, group_by_size
from dlcpose.detectors.centernet_boxes import CenterNetBoxes
from dlcpose.layers.bounded_sigmoid import bounded_sigmoid
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.input import IMAGENET_MEAN, IMAGENET_STD

INITIAL_SIDE = 6.0  # cells: the box that an untrained network predicts everywhere
BOX_CELLS = 0.5  # of a center's Gaussian: cells where it is higher have the box as target


class CenterNetMaps(NamedTuple):
    """Output maps of the detector, or their targets."""

    centers: Tensor  # (B, 1, h, w) in [0, 1]
    boxes: Tensor  # (B, 4, h, w) x1 y1 x2 y2 of the box minus x y x y of the cell, in cells; NaN where unsupervised


class CenterNetDetector(Detector):
    """A backbone with a feature pyramid, a center branch and a box branch; it can be trained on a few dozen frames.

    neck: completed with the backbone's channels and strides. heatmap_loss: of (predicted, target) maps. longest_side:
    frames are scaled down until no side is longer, px, and never up. channels: of the two branches. sigma: standard
    deviation of a center's Gaussian as a share of the box's sides. box_weight: of the box loss beside the heatmap's.
    threshold: minimum score of a box. nms_iou: of two boxes with a larger IoU, the one with the higher score stays; boxes
    of close animals overlap, and pose NMS tells duplicates better. max_animals: maximum in a frame. checkpoint: of a
    detector's run, to load the weights from.
    """

    max_animals: int

    def __init__(
        self,
        backbone: Any,
        neck: Callable[..., Any],
        boxes: BoxRule,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        longest_side: int = 320,
        channels: int = 64,
        sigma: float = 0.1,
        box_weight: float = 0.5,
        threshold: float = 0.05,
        nms_iou: float = 0.75,
        max_animals: int = 30,
        training: DetectorTraining | None = None,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__(boxes, training)
        if longest_side < backbone.size_divisor or max_animals < 1:
            raise ValueError(
                f"expected a longest_side of {backbone.size_divisor} or more and max_animals of 1 or more, got "
                f"{longest_side} and {max_animals}"
            )
        self.backbone = backbone
        self.neck = neck(in_channels=backbone.channels, strides=backbone.strides)
        self.stride, self.multiple_of = self.neck.stride, backbone.size_divisor
        self.heatmap_loss, self.box_weight = heatmap_loss, box_weight
        self.longest_side, self.sigma = longest_side, sigma
        self.threshold, self.nms_iou, self.max_animals = threshold, nms_iou, max_animals
        self.center_layers = _branch(self.neck.out_channels, channels, 1, math.log(0.01 / 0.99))
        self.box_layers = _branch(self.neck.out_channels, channels, 4, 0.0)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        if checkpoint is not None:
            self.load(checkpoint)

    def forward(self, images: Tensor) -> CenterNetMaps:
        """The output maps of normalized images (B, 3, H, W)."""
        features = self.neck(self.backbone(images))
        middle, log_sides = self.box_layers(features).float().split(2, dim=1)
        halves = INITIAL_SIDE / 2 * log_sides.clamp(-6, 6).exp()
        boxes = torch.cat((middle - halves, middle + halves), dim=1)
        return CenterNetMaps(bounded_sigmoid(self.center_layers(features)), boxes)

    def encode(self, boxes_in_map: Tensor, size: tuple[int, int]) -> CenterNetMaps:
        """The target maps of boxes (B, N, 4) in cells, NaN where padded; size: (h, w) of the maps.

        A cell near the centers of two boxes belongs to the one whose Gaussian is higher there.
        """
        batch, count, _ = boxes_in_map.shape
        if count == 0:
            return CenterNetMaps(
                boxes_in_map.new_zeros(batch, 1, *size), boxes_in_map.new_full((batch, 4, *size), math.nan)
            )
        gaussians = self._gaussians(boxes_in_map, size)  # (B, N, h, w)
        centers, nearest = gaussians.max(dim=1)  # (B, h, w)
        cells = _cells(size, boxes_in_map)  # (4, h, w)
        boxes = boxes_in_map.gather(1, nearest.flatten(start_dim=1)[..., None].expand(-1, -1, 4))  # (B, h·w, 4)
        offsets = boxes.transpose(1, 2).view(batch, 4, *size) - cells
        return CenterNetMaps(centers[:, None], offsets.where(centers[:, None] >= BOX_CELLS, math.nan))

    def _gaussians(self, boxes_in_map: Tensor, size: tuple[int, int]) -> Tensor:
        """A Gaussian with its peak of 1 at the cell of each box's center: (B, N, 4) -> (B, N, h, w)."""
        # At a cell, not between cells: a center halfway between two would have two peaks.
        border = boxes_in_map.new_tensor([size[1] - 1, size[0] - 1])
        middles = ((boxes_in_map[..., :2] + boxes_in_map[..., 2:]) / 2).round().clamp(min=0).minimum(border)
        spreads = (self.sigma * (boxes_in_map[..., 2:] - boxes_in_map[..., :2])).clamp(min=0.6)
        cells = _cells(size, boxes_in_map)[:2]  # (2, h, w)
        away = (cells - middles[..., None, None]) / spreads[..., None, None]  # (B, N, 2, h, w)
        return torch.exp(-away.square().sum(dim=2) / 2).nan_to_num(0.0)

    def loss(self, maps: CenterNetMaps, targets: CenterNetMaps) -> dict[str, Tensor]:
        """The loss of the heatmap, and 1 - GIoU of the boxes, which does not depend on the animals' size."""
        is_box = ~targets.boxes.isnan().any(dim=1)  # (B, h, w)
        pred, gt = (boxes.movedim(1, -1)[is_box] for boxes in (maps.boxes, targets.boxes))  # (P, 4)
        return {
            "centers": self.heatmap_loss(maps.centers, targets.centers),
            "boxes": self.box_weight * generalized_box_iou_loss(pred, gt, reduction="sum") / is_box.sum().clamp(min=1),
        }

    def decode(self, maps: CenterNetMaps) -> list[Boxes]:
        """The boxes at the peaks of the heatmaps, in cells."""
        outputs = self._candidates(maps)
        around = self.graph_detector()
        return [around.choose(*each) for each in zip(outputs["boxes"], outputs["scores"], strict=True)]

    def _candidates(self, maps: CenterNetMaps) -> dict[str, Tensor]:
        """Boxes (B, P, 4) in cells at the highest peaks of each heatmap, and their scores (B, P)."""
        centers = maps.centers[:, 0].nan_to_num(0.0)  # (B, h, w)
        highest = functional.max_pool2d(centers[:, None], 3, stride=1, padding=1)[:, 0]
        peaks = centers.where(centers == highest, 0.0).flatten(start_dim=1)
        scores, places = highest_values(peaks, 4 * self.max_animals)  # (B, P)
        all_boxes = (maps.boxes + _cells((centers.shape[1], centers.shape[2]), centers)).flatten(start_dim=2)
        boxes = all_boxes.gather(2, places[:, None].expand(-1, 4, -1)).transpose(1, 2)  # (B, P, 4)
        return {"boxes": boxes, "scores": scores}

    def output_layers(self) -> Sequence[nn.Module]:
        """The last ones of both branches."""
        return (self.center_layers, self.box_layers)

    def graph_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Candidate boxes in scaled and padded frames (B, 3, h, w) of 0 to 255; scores of NaN where a heatmap has any."""
        maps = self((images / 255 - self.mean) / self.std)
        outputs = self._candidates(maps)
        is_broken = maps.centers.isnan().flatten(start_dim=1).any(dim=1)  # (B,)
        return {**outputs, "scores": outputs["scores"].masked_fill(is_broken[:, None], math.nan)}

    def graph_detector(self) -> CenterNetBoxes:
        """Pre- and postprocessing of the network."""
        return CenterNetBoxes(
            longest_side=self.longest_side,
            multiple_of=self.multiple_of,
            stride=self.stride,
            threshold=self.threshold,
            nms_iou=self.nms_iou,
            max_animals=self.max_animals,
        )

    def losses(self, batch: PoseBatch) -> dict[str, Tensor]:
        """The losses of one batch."""
        images, scales = self._scale_batch(batch)
        maps = self(self._normalize(images))
        size = (maps.centers.shape[-2], maps.centers.shape[-1])
        boxes_in_image = (self.gt_boxes(batch) + 0.5) * scales[:, None] - 0.5
        return self.loss(maps, self.encode(cells_from_pixels(boxes_in_image, self.stride), size))

    def detect(self, batch: PoseBatch) -> list[Boxes]:
        """The boxes in each frame."""
        return detect_by_size(batch, self._detect)

    def _detect(self, frames: Tensor) -> list[Boxes]:
        images, scales = self._scale(frames)
        around = self.graph_detector()
        return [around.in_frame(each, scales) for each in self.decode(self(self._normalize(images)))]

    def _scale_batch(self, batch: PoseBatch) -> tuple[Tensor, Tensor]:
        """A batch's frames, each scaled as it would be alone, then padded to the largest: (B, 3, h, w), scales (B, 4)."""
        each = [(places, *self._scale(frames)) for places, frames in group_by_size(batch)]
        if len(each) == 1:
            _, images, scales = each[0]
            return images, scales.expand(len(batch), 4)
        height, width = (max(images.shape[side] for _, images, _ in each) for side in (-2, -1))
        together = batch.images.new_zeros((len(batch), 3, height, width), dtype=torch.float32)
        scales_of_each = together.new_ones((len(batch), 4))
        for places, images, scales in each:
            together[places, :, : images.shape[-2], : images.shape[-1]] = images
            scales_of_each[places] = scales
        return together, scales_of_each

    def _scale(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, H, W) uint8 scaled down to longest_side, as float, and their scales of x y x y: (4,)."""
        return self.graph_detector().scale(images)

    def _normalize(self, scaled: Tensor) -> Tensor:
        """Scaled frames (B, 3, h, w) padded and normalized for the network."""
        normalized = (self.graph_detector().pad(scaled) / 255 - self.mean) / self.std
        return normalized.contiguous(memory_format=torch.channels_last)


def _branch(in_channels: int, channels: int, out_channels: int, bias: float) -> nn.Sequential:
    last = nn.Conv2d(channels, out_channels, 1)
    nn.init.normal_(last.weight, std=0.001)
    if last.bias is not None:
        nn.init.constant_(last.bias, bias)
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        last,
    )


def _cells(size: tuple[int, int], like: Tensor) -> Tensor:
    """x y x y of every cell: (4, h, w)."""
    y = torch.arange(size[0], device=like.device, dtype=like.dtype)[:, None].expand(size)
    x = torch.arange(size[1], device=like.device, dtype=like.dtype).expand(size)
    return torch.stack((x, y, x, y))
