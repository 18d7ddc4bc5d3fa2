"""torchvision's Faster R-CNN over a feature pyramid (Ren et al. 2015; Lin et al. 2017)."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn
from torchvision.models.detection import (
    FasterRCNN_MobileNet_V3_Large_FPN_Weights,
    FasterRCNN_ResNet50_FPN_V2_Weights,
    fasterrcnn_mobilenet_v3_large_fpn,
    fasterrcnn_resnet50_fpn_v2,
)
from torchvision.ops.misc import FrozenBatchNorm2d

from dlcpose.detectors.base import BoxRule, DetectorTraining
from dlcpose.detectors.torchvision_base import CLASSES, TorchvisionDetector, TrainedWeights, of_channels
from dlcpose.structures.input import IMAGENET_MEAN, IMAGENET_STD


class _FasterRcnn(TorchvisionDetector):
    """Settings of every Faster R-CNN; a subclass states torchvision's function that builds it, and its COCO weights.

    pretrained: COCO's weights. shortest_side, longest_side: frames are scaled until the shorter side is `shortest_side`,
    unless the longer would pass `longest_side`, px. threshold: minimum score of a box. nms_iou: of two
    boxes with a larger IoU, the one with the higher score stays. max_animals: maximum in a frame. checkpoint: of a
    detector's run. mean, std: that images are normalized by, one for each channel or one for all. pixel_shift: as in
    TorchvisionDetector. frozen_norm: the backbone's batch norm is torchvision's frozen one, as where torchvision is given
    weights for it.
    """

    build_network: ClassVar[Any]

    def __init__(
        self,
        boxes: BoxRule,
        *,
        pretrained: bool = False,
        shortest_side: int = 800,
        longest_side: int = 1333,
        threshold: float = 0.05,
        nms_iou: float = 0.6,
        max_animals: int = 30,
        training: DetectorTraining | None = None,
        checkpoint: str | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        pixel_shift: float = 0.5,
        frozen_norm: bool = False,
    ) -> None:
        if not 0 < shortest_side <= longest_side or max_animals < 1:
            raise ValueError(
                f"expected 0 < shortest_side <= longest_side and max_animals of 1 or more, got {shortest_side}, "
                f"{longest_side} and {max_animals}"
            )
        network = self.build_network(
            weights=None,
            weights_backbone=None,
            num_classes=CLASSES,
            min_size=shortest_side,
            max_size=longest_side,
            box_score_thresh=threshold,
            box_nms_thresh=nms_iou,
            box_detections_per_img=max_animals,
            image_mean=of_channels(mean),
            image_std=of_channels(std),
        )
        if frozen_norm:
            _freeze_norm(network.backbone.body)
        source = TrainedWeights(pretrained=pretrained, checkpoint=checkpoint)
        super().__init__(network, boxes, source, max_animals=max_animals, training=training, pixel_shift=pixel_shift)

    def output_layers(self) -> Sequence[nn.Module]:
        """Those of the proposals, and of the boxes in them."""
        network: Any = self.network
        return (network.rpn.head, network.roi_heads.box_predictor)


class FasterRcnnResnet50(_FasterRcnn):
    """`fasterrcnn_resnet50_fpn_v2`: the most accurate, and slow without a GPU."""

    build_network = staticmethod(fasterrcnn_resnet50_fpn_v2)
    coco_weights = FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1


class FasterRcnnMobilenet(_FasterRcnn):
    """`fasterrcnn_mobilenet_v3_large_fpn`: a light backbone."""

    build_network = staticmethod(fasterrcnn_mobilenet_v3_large_fpn)
    coco_weights = FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1


def _freeze_norm(module: nn.Module) -> None:
    """Put torchvision's frozen batch norm in the place of every other within a module."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features))
        else:
            _freeze_norm(child)
