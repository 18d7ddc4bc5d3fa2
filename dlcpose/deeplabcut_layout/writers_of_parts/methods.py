"""How images reach the network, and detectors, as DeepLabCut configures them."""

from collections.abc import Mapping
from typing import Any

from dlcpose.deeplabcut_layout.writers import DETECTOR_WRITERS, METHOD_WRITERS, ModelFacts, Written
from dlcpose.structures.errors import ConfigError

MULTIPLE_OF_HRNET = 32


@METHOD_WRITERS.register("dlcpose.pipelines.bottom_up.BottomUp")
def bottom_up(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """Whole images at their native size. Raises ConfigError for images that are resized."""
    if facts.canvas is not None:
        raise ConfigError(
            "input: DeepLabCut's bottom-up models see images at their native size. Train with input=native."
        )
    inference: dict[str, Any] = {"normalize_images": True}
    if "hrnet" in str(facts.config["backbone"].get("name")):
        inference["auto_padding"] = dict.fromkeys(("pad_width_divisor", "pad_height_divisor"), MULTIPLE_OF_HRNET)
    return Written({"method": "bu", "bbox_margin": 20, "inference": inference})


@METHOD_WRITERS.register("dlcpose.pipelines.deeplabcut_top_down.DeepLabCutTopDown")
def top_down(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """Crops around a detector's boxes."""
    assert facts.canvas is not None  # crops have a size
    crop = {"height": facts.canvas[0], "width": facts.canvas[1], "crop_with_context": node["with_context"]}
    if node["margin"]:
        crop["margin"] = int(node["margin"])
    boxes = (facts.config.get("detector") or {}).get("boxes") or {}
    inference = {"normalize_images": True, "top_down_crop": crop}
    return Written({"method": "td", "bbox_margin": int(boxes.get("padding", 20)), "inference": inference})


@DETECTOR_WRITERS.register("dlcpose.detectors.faster_rcnn.FasterRcnnMobilenet")
def mobilenet(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """Raises ConfigError unless it has torchvision's frozen norm, as DeepLabCut builds it."""
    _check(node)
    if not node["frozen_norm"]:
        raise ConfigError("detector.frozen_norm: DeepLabCut's has frozen norm. Train with detector.frozen_norm=true.")
    return _faster_rcnn("fasterrcnn_mobilenet_v3_large_fpn", node)


@DETECTOR_WRITERS.register("dlcpose.detectors.faster_rcnn.FasterRcnnResnet50")
def resnet50(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """torchvision's second version."""
    _check(node)
    return _faster_rcnn("fasterrcnn_resnet50_fpn_v2", node)


@DETECTOR_WRITERS.register("dlcpose.detectors.ssdlite.SsdLite")
def ssdlite(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """torchvision's."""
    _check(node)
    return Written({"type": "SSDLite", "freeze_bn_stats": True, "freeze_bn_weights": False})


@DETECTOR_WRITERS.register("dlcpose.detectors.ground_truth.GroundTruthDetector")
def ground_truth(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """No detector."""
    return Written({})


def _faster_rcnn(variant: str, node: Mapping[str, Any]) -> Written:
    frozen = {"freeze_bn_stats": True, "freeze_bn_weights": False}
    described = {"type": "FasterRCNN", **frozen, "variant": variant, "box_score_thresh": node["threshold"]}
    return Written(described)


def _check(node: Mapping[str, Any]) -> None:
    if node["pixel_shift"] != 0.0:
        raise ConfigError(
            "detector: DeepLabCut normalizes images once more before the detector and counts pixels from their centers. "
            "Only detectors that were imported from DeepLabCut, or trained on from such, can be exported to it."
        )
