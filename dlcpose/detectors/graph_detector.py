"""The parts of a detector around its exported graph: preparation of frames, and boxes from its outputs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from dlcpose.detectors.base import Boxes
from dlcpose.structures.registry import Registry


class GraphDetector(ABC):
    """Pre- and postprocessing of a detector's graph; its fields are plain values, which are saved in the graph's file."""

    @abstractmethod
    def prepare(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The graph's float images (B, 3, h, w) of frames (B, 3, H, W) uint8 of one size, and what `boxes` needs of them."""

    @abstractmethod
    def boxes(self, outputs: Mapping[str, Tensor], scales: Tensor) -> list[Boxes]:
        """The boxes in each frame, of the graph's outputs."""


GRAPH_DETECTORS: Registry[type[GraphDetector]] = Registry(
    "dlcpose.graph_detectors", ("dlcpose.detectors.centernet_boxes",)
)
graph_detector = GRAPH_DETECTORS.register
