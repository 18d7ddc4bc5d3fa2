"""A top-down model small enough to build in a test."""

from typing import Any

from dlcpose.datasets.base import LabeledFrames
from dlcpose.detectors.base import Boxes, Detector
from dlcpose.pipelines.top_down import TopDown
from dlcpose.structures.batch import PoseBatch
from tests.made_up_runs import option, pipeline_of, tiny_config

RULE = option("detector/boxes", "around_keypoints")
CENTERS = {
    **{key: value for key, value in option("detector", "centernet").items() if key != "defaults"},
    "backbone": {**option("backbone", "resnet_18"), "name": "test_resnet"},
    "neck": {**option("neck", "fpn"), "channels": 16, "level": 1},
    "heatmap_loss": option("loss", "binary_cross_entropy"),
    "boxes": RULE,
    "channels": 16,
}
GROUND_TRUTH = {"_target_": "dlcpose.detectors.ground_truth.GroundTruthDetector", "boxes": RULE}
PIPELINE = option("pipeline", "top_down")
CROPS = {**PIPELINE["crops"], "seed": 0}
INPUT = {**option("input", "resize"), "height": 64, "width": 96}  # of a crop


def top_down_config(detector: dict[str, Any] = GROUND_TRUTH, **crops: Any) -> dict[str, Any]:
    head = {**option("head", "heatmap"), "deconvolutions": 0, "offsets": False}
    return tiny_config(
        pipeline={**PIPELINE, "crops": {**CROPS, **crops}},
        detector=detector,
        input=INPUT,
        head={**head, "heatmap_loss": option("loss", "binary_cross_entropy")},
    )


def top_down_of(data: LabeledFrames, detector: dict[str, Any] = GROUND_TRUTH, **crops: Any) -> TopDown:
    built = pipeline_of(top_down_config(detector, **crops), data)
    assert isinstance(built, TopDown)
    built.log_dict = lambda *arguments, **settings: None  # no trainer to log to
    return built


class FixedBoxes(Detector):
    """Detects given boxes, whatever the frames show."""

    def __init__(self, boxes: list[Boxes], like: Detector) -> None:
        super().__init__(like.box_rule)
        self.boxes = boxes

    def losses(self, batch: PoseBatch) -> dict[str, Any]:
        return {}

    def detect(self, batch: PoseBatch) -> list[Boxes]:
        return self.boxes
