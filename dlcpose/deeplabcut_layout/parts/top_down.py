"""DeepLabCut's top-down models: crops around a detector's boxes."""

from dlcpose.deeplabcut_layout.config import SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part
from dlcpose.deeplabcut_layout.parts.bottom_up import KNOWN, check_input
from dlcpose.deeplabcut_layout.registries import METHODS


@METHODS.register("td")
def top_down(config: SnapshotConfig) -> Part:
    """Its crops; boxes are the labels' until a detector is named."""
    check_input(config.root.node("data"), KNOWN)
    has_crop = "top_down_crop" in config.inference
    crop = config.inference.node("top_down_crop") if has_crop else None
    return Part(
        choices={
            "pipeline": "deeplabcut_top_down",
            "input": "resize",
            "metric": "top_down",
            "detector": "ground_truth",
            "detector/boxes": "padded_keypoints",
        },
        settings={
            "input.height": crop.integer("height", 256) if crop else 256,
            "input.width": crop.integer("width", 256) if crop else 256,
            "pipeline.margin": crop.number("margin", 0.0) if crop else 0.0,
            "pipeline.with_context": crop.flag("crop_with_context", True) if crop else True,
            "detector.boxes.padding": config.root.node("data").number("bbox_margin", 20.0),
        },
    )
