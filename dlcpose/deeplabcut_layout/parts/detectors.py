"""DeepLabCut's detectors: torchvision's, which see images that were normalized once before."""

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.parts.bottom_up import check_input
from dlcpose.deeplabcut_layout.registries import DETECTORS
from dlcpose.structures.errors import DataError
from dlcpose.structures.input import IMAGENET_MEAN, IMAGENET_STD

VARIANTS = ("fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn_v2")
WEIGHTS = Renamed([("detector.model.", "detector.network.")])


@DETECTORS.register("FasterRCNN")
def faster_rcnn(node: Node, config: SnapshotConfig) -> Part:
    """One of two variants; DeepLabCut builds them with torchvision's frozen norm where torchvision has weights."""
    variant = node.text("variant", VARIANTS[0])
    if variant not in VARIANTS:
        raise DataError(f"{node.where}.variant: expected one of {', '.join(VARIANTS)}, got {variant!r}.")
    settings = _settings(config, IMAGENET_MEAN, IMAGENET_STD) | {
        "detector.threshold": node.number("box_score_thresh", 0.01),
        "detector.nms_iou": 0.5,
    }
    if variant == VARIANTS[0]:
        settings["detector.frozen_norm"] = True
    return Part(choices={"detector": variant}, settings=settings, weights=WEIGHTS)


@DETECTORS.register("SSDLite")
def ssdlite(node: Node, config: SnapshotConfig) -> Part:
    """torchvision's, whose threshold DeepLabCut's setting does not reach."""
    settings = _settings(config, (0.5,) * 3, (0.5,) * 3) | {"detector.threshold": 0.001, "detector.nms_iou": 0.55}
    return Part(choices={"detector": "ssdlite"}, settings=settings, weights=WEIGHTS)


def _settings(config: SnapshotConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, object]:
    """Settings of all detectors. mean, std: torchvision's own, which come after DeepLabCut's normalization."""
    detector = config.root.node("detector")
    if "data" in detector:
        check_input(detector.node("data"), ("normalize_images",))
    first = tuple(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
    return {
        "detector.mean": [m + s * second for (m, s), second in zip(first, mean, strict=True)],
        "detector.std": [s * second for (_, s), second in zip(first, std, strict=True)],
        "detector.pixel_shift": 0.0,
        "detector.max_animals": len(config.individuals),
    }
