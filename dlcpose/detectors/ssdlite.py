"""torchvision's SSDLite with MobileNet v3 (Sandler et al. 2018; Howard et al. 2019)."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights, ssdlite320_mobilenet_v3_large

from dlcpose.detectors.base import BoxRule, DetectorTraining
from dlcpose.detectors.torchvision_base import CLASSES, TorchvisionDetector, TrainedWeights, of_channels


class SsdLite(TorchvisionDetector):
    """`ssdlite320_mobilenet_v3_large`: frames are stretched to 320x320, whatever their shape.

    pretrained: COCO's weights. threshold: minimum score of a box. nms_iou: of two boxes with a larger IoU, the one
    with the higher score stays. max_animals: maximum in a frame. checkpoint: of a detector's run. mean, std: that images
    are normalized by, one for each channel or one for all. pixel_shift: as in TorchvisionDetector.
    """

    coco_weights = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1

    def __init__(
        self,
        boxes: BoxRule,
        *,
        pretrained: bool = False,
        threshold: float = 0.05,
        nms_iou: float = 0.55,
        max_animals: int = 30,
        training: DetectorTraining | None = None,
        checkpoint: str | None = None,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        pixel_shift: float = 0.5,
    ) -> None:
        if max_animals < 1:
            raise ValueError(f"expected max_animals of 1 or more, got {max_animals}")
        network = ssdlite320_mobilenet_v3_large(
            weights=None,
            weights_backbone=None,
            num_classes=CLASSES,
            score_thresh=threshold,
            nms_thresh=nms_iou,
            detections_per_img=max_animals,
            image_mean=of_channels(mean),
            image_std=of_channels(std),
        )
        source = TrainedWeights(pretrained=pretrained, checkpoint=checkpoint)
        super().__init__(network, boxes, source, max_animals=max_animals, training=training, pixel_shift=pixel_shift)

    def output_layers(self) -> Sequence[nn.Module]:
        """The head of all scales."""
        network: Any = self.network
        return (network.head,)
