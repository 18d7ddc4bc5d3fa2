"""Animals as points on one map: a heatmap of box centres, and at each centre the box (CenterNet, Zhou et al. 2019)."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss, nms

from dlcpose.codecs.affine import cells_from_pixels, pixels_from_cells
from dlcpose.detectors.base import Boxes, BoxRule, Detector, DetectorTraining, batch_by_size, of_one_size
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.input import IMAGENET_MEAN, IMAGENET_STD, round_up

FIRST_SIDE = 6.0  # cells: the box that a fresh network finds everywhere
ASKED = 0.5  # of a centre's Gaussian: cells above it speak of the box


class CenterNetMaps(NamedTuple):
    """What the detector finds, and is asked to find."""

    centers: Tensor  # (B, 1, h, w) in [0, 1]
    boxes: Tensor  # (B, 4, h, w) x1 y1 x2 y2 of the box, in cells from the cell itself; NaN where nothing is asked


class CenterNetDetector(Detector):
    """A backbone with a pyramid, a heatmap of centres and the box at each: it learns from a few dozen frames.

    neck: completed with the backbone's channels and strides. heatmap_loss: of (found, wanted) maps. longest_side: frames
    are shrunk until no side is longer, px; they are never enlarged. channels: of the two branches. sigma: width of a
    centre's Gaussian as a share of the box's sides. box_weight: of the boxes' loss beside the heatmap's. threshold: least
    score of a box. overlap: of two boxes that share more (IoU), the surer is left; close animals' boxes overlap, and the
    poses tell better than the boxes whether two are one animal. max_animals: most that are found in a frame.
    checkpoint: of a detector's run, to take the weights from.
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
        """The maps of normalised images (B, 3, H, W)."""
        features = self.neck(self.backbone(images))
        middle, logs = self.box_layers(features).float().split(2, dim=1)  # of a box: where it is, how large
        halves = FIRST_SIDE / 2 * logs.clamp(-6, 6).exp()
        found = torch.cat((middle - halves, middle + halves), dim=1)
        return CenterNetMaps(self.center_layers(features).float().sigmoid(), found)

    def encode(self, boxes_in_map: Tensor, size: tuple[int, int]) -> CenterNetMaps:
        """The maps wanted for boxes (B, N, 4) in cells, NaN where padded; size: (h, w) of the maps.

        Where two boxes ask for a cell, the one whose centre is nearer, in units of its size, has it.
        """
        batch, count, _ = boxes_in_map.shape
        if count == 0:
            return CenterNetMaps(
                boxes_in_map.new_zeros(batch, 1, *size), boxes_in_map.new_full((batch, 4, *size), math.nan)
            )
        near = self._gaussians(boxes_in_map, size)  # (B, N, h, w)
        highest, owners = near.max(dim=1)  # (B, h, w)
        cells = _cells(size, boxes_in_map)  # (4, h, w)
        owned = boxes_in_map.gather(1, owners.flatten(start_dim=1)[..., None].expand(-1, -1, 4))  # (B, h·w, 4)
        seen_from_cells = owned.transpose(1, 2).view(batch, 4, *size) - cells
        return CenterNetMaps(highest[:, None], seen_from_cells.where(highest[:, None] >= ASKED, math.nan))

    def _gaussians(self, boxes_in_map: Tensor, size: tuple[int, int]) -> Tensor:
        """A bump of 1 at the cell of each box's centre, as wide as the box is: (B, N, 4) -> (B, N, h, w)."""
        # In the cell, not between cells: a centre halfway between two would have two summits.
        border = boxes_in_map.new_tensor([size[1] - 1, size[0] - 1])
        middles = ((boxes_in_map[..., :2] + boxes_in_map[..., 2:]) / 2).round().clamp(min=0).minimum(border)
        spreads = (self.sigma * (boxes_in_map[..., 2:] - boxes_in_map[..., :2])).clamp(min=0.6)
        cells = _cells(size, boxes_in_map)[:2]  # (2, h, w)
        away = (cells - middles[..., None, None]) / spreads[..., None, None]  # (B, N, 2, h, w)
        return torch.exp(-away.square().sum(dim=2) / 2).nan_to_num(0.0)

    def loss(self, maps: CenterNetMaps, wanted: CenterNetMaps) -> dict[str, Tensor]:
        """The heatmap's loss, and that of the boxes: 1 − GIoU, which is the same for animals of all sizes."""
        asked = ~wanted.boxes.isnan().any(dim=1)  # (B, h, w)
        found, gt = (boxes.movedim(1, -1)[asked] for boxes in (maps.boxes, wanted.boxes))  # (P, 4)
        return {
            "centres": self.heatmap_loss(maps.centers, wanted.centers),
            "boxes": self.box_weight * generalized_box_iou_loss(found, gt, reduction="sum") / asked.sum().clamp(min=1),
        }

    def decode(self, maps: CenterNetMaps) -> list[Boxes]:
        """The boxes at the summits of the heatmaps, in cells."""
        centers = maps.centers[:, 0].nan_to_num(0.0)  # (B, h, w)
        highest = functional.max_pool2d(centers[:, None], 3, stride=1, padding=1)[:, 0]
        summits = centers.where(centers == highest, 0.0).flatten(start_dim=1)
        scores, places = summits.topk(min(4 * self.max_animals, summits.shape[1]), dim=1)  # (B, P)
        everywhere = (maps.boxes + _cells((centers.shape[1], centers.shape[2]), centers)).flatten(start_dim=2)
        boxes = everywhere.gather(2, places[:, None].expand(-1, 4, -1)).transpose(1, 2)  # (B, P, 4)
        return [self._distinct(boxes[index], scores[index]) for index in range(len(boxes))]

    def _distinct(self, boxes: Tensor, scores: Tensor) -> Boxes:
        """One frame's boxes: sure enough, and unlike each other."""
        sure = (scores >= self.threshold) & ~boxes.isnan().any(dim=-1)
        boxes, scores = boxes[sure], scores[sure]
        left = nms(boxes, scores, self.nms_iou)[: self.max_animals]
        return Boxes(boxes[left], scores[left].clamp(0, 1))

    def losses(self, batch: PoseBatch) -> dict[str, Tensor]:
        """The losses of one batch."""
        images, scales = self._shrunk_together(batch)
        maps = self(self._normalised(images))
        size = (maps.centers.shape[-2], maps.centers.shape[-1])
        boxes_in_image = (self.gt_boxes(batch) + 0.5) * scales[:, None] - 0.5
        return self.loss(maps, self.encode(cells_from_pixels(boxes_in_image, self.stride), size))

    def detect(self, batch: PoseBatch) -> list[Boxes]:
        """The boxes in each frame."""
        return batch_by_size(batch, self._find)

    def _find(self, frames: Tensor) -> list[Boxes]:
        images, scales = self._shrunk(frames)
        found = self.decode(self(self._normalised(images)))
        return [Boxes((pixels_from_cells(boxes, self.stride) + 0.5) / scales - 0.5, scores) for boxes, scores in found]

    def _shrunk_together(self, batch: PoseBatch) -> tuple[Tensor, Tensor]:
        """A batch's frames, each shrunk as it would be alone, then padded to the largest: (B, 3, h, w), scales (B, 4)."""
        each = [(places, *self._shrunk(frames)) for places, frames in of_one_size(batch)]
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

    def _shrunk(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, H, W) uint8 with no side too long, float, and the scales of x y x y they were shrunk by: (4,)."""
        height, width = images.shape[-2:]
        scale = min(1.0, self.longest_side / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        shrunk = images.float()
        if size != (height, width):
            shrunk = functional.interpolate(shrunk, size, mode="bilinear", antialias=True)
        return shrunk, torch.tensor([size[1] / width, size[0] / height] * 2, device=images.device)

    def _normalised(self, shrunk: Tensor) -> Tensor:
        """Shrunk frames (B, 3, h, w) as the network reads them."""
        below, right = (round_up(side, self.multiple_of) - side for side in shrunk.shape[-2:])
        padded = functional.pad(shrunk, (0, right, 0, below))
        normalised = (padded / 255 - self.mean) / self.std
        return normalised.contiguous(memory_format=torch.channels_last)


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
