"""Pre- and postprocessing of CenterNet's network: scale and pad frames, select boxes among its candidates."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import nms

from dlcpose.codecs.affine import pixels_from_cells
from dlcpose.detectors.base import Boxes
from dlcpose.detectors.graph_detector import GraphDetector, graph_detector
from dlcpose.structures.input import round_up


@graph_detector("centernet")
@dataclass(frozen=True)
class CenterNetBoxes(GraphDetector):
    """longest_side: frames are scaled down until no side is longer, px, and never up. multiple_of: what they are padded to.

    stride: input pixels per cell. threshold: minimum score of a box. nms_iou: of two boxes with a larger IoU, the one with
    the higher score stays. max_animals: maximum in a frame.
    """

    longest_side: int
    multiple_of: int
    stride: float
    threshold: float
    nms_iou: float
    max_animals: int

    def scale(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, H, W) uint8 scaled down to longest_side, as float, and their scales of x y x y: (4,)."""
        height, width = frames.shape[-2:]
        scale = min(1.0, self.longest_side / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        scaled = frames.float()
        if size != (height, width):
            scaled = functional.interpolate(scaled, size, mode="bilinear", antialias=True)
        return scaled, torch.tensor([size[1] / width, size[0] / height] * 2, device=frames.device)

    def pad(self, scaled: Tensor) -> Tensor:
        """Scaled frames (B, 3, h, w), padded right and below."""
        below, right = (round_up(side, self.multiple_of) - side for side in scaled.shape[-2:])
        return functional.pad(scaled, (0, right, 0, below))

    def prepare(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        scaled, scales = self.scale(frames)
        return self.pad(scaled), scales

    def choose(self, boxes: Tensor, scores: Tensor) -> Boxes:
        """Of one frame's candidates (P, 4) with scores (P,) those above the threshold that NMS keeps."""
        is_candidate = (scores >= self.threshold) & ~boxes.isnan().any(dim=-1)
        boxes, scores = boxes[is_candidate], scores[is_candidate]
        kept = nms(boxes, scores, self.nms_iou)[: self.max_animals]
        return Boxes(boxes[kept], scores[kept].clamp(0, 1))

    def in_frame(self, chosen: Boxes, scales: Tensor) -> Boxes:
        """Boxes in cells as boxes in pixels of the frame."""
        return Boxes((pixels_from_cells(chosen.boxes_in_frame, self.stride) + 0.5) / scales - 0.5, chosen.scores)

    def boxes(self, outputs: Mapping[str, Tensor], scales: Tensor) -> list[Boxes]:
        each = zip(outputs["boxes"], outputs["scores"], strict=True)  # (P, 4) cells, (P,)
        return [self.in_frame(self.choose(boxes, scores), scales) for boxes, scores in each]
