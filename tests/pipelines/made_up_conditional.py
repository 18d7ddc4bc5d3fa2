"""A conditional top-down model small enough to build in a test, and a detector of given poses."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dlcpose.datasets.base import LabeledFrames
from dlcpose.detectors.base import Detector
from dlcpose.detectors.pose_boxes import PoseDetector
from dlcpose.pipelines.conditional_top_down import ConditionalTopDown
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from tests.made_up_runs import option, pipeline_of
from tests.pipelines.made_up_top_down import RULE, top_down_config


def plain(group: str, name: str) -> dict[str, Any]:
    return {key: value for key, value in option(group, name).items() if key != "defaults"}


DRAWN = {**plain("detector", "perturbed_pose_boxes"), "boxes": RULE}
PIPELINE = option("pipeline", "conditional_top_down")
CROPS = {**PIPELINE["crops"], "seed": 0}


def conditional_config(detector: dict[str, Any] = DRAWN, **changes: Any) -> dict[str, Any]:
    return {
        **top_down_config(detector),
        "pipeline": {**PIPELINE, "crops": {**CROPS, **changes.pop("crops", {})}},
        "fusion": option("fusion", "prenet"),
        "condition": option("condition", "generated"),
        **changes,
    }


def conditional_of(data: LabeledFrames, detector: dict[str, Any] = DRAWN, **changes: Any) -> ConditionalTopDown:
    built = pipeline_of(conditional_config(detector, **changes), data)
    assert isinstance(built, ConditionalTopDown)
    built.log_dict = lambda *arguments, **settings: None  # no trainer to log to
    return built


class FixedPoses(PoseDetector):
    """Detects given poses, in the frames' pixels, whatever the frames show."""

    origin = "given poses"

    def __init__(self, poses: Sequence[PoseInstances], like: Detector) -> None:
        super().__init__(like.box_rule)
        self.poses = list(poses)

    def detect_poses(self, batch: PoseBatch) -> list[PoseInstances]:
        return self.poses


def poses(keypoints: Tensor, scores: Sequence[float]) -> PoseInstances:
    return PoseInstances.from_keypoints(keypoints, torch.ones(keypoints.shape[:2]), torch.tensor(list(scores)))


def labeled(batch: PoseBatch, index: int) -> Tensor:
    """The labeled poses of a frame: (N, K, 2)."""
    keypoints = batch.keypoints_in_crop[index]
    return keypoints[~keypoints.isnan().any(dim=-1).all(dim=-1)]
