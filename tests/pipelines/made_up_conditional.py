"""A conditioned pipeline small enough to build in a test, and detectors that say what they are told."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dlcpose.datasets.base import LabelledFrames
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
PIPELINE = {**option("pipeline", "conditional_top_down")["pipeline"], "height": 64, "width": 96, "seed": 0}


def conditioned_config(detector: dict[str, Any] = DRAWN, **changes: Any) -> dict[str, Any]:
    return {
        **top_down_config(detector),
        "pipeline": {**PIPELINE, **changes.pop("pipeline", {})},
        "fusion": option("fusion", "prenet"),
        "condition": option("condition", "generated"),
        **changes,
    }


def conditioned_of(data: LabelledFrames, detector: dict[str, Any] = DRAWN, **changes: Any) -> ConditionalTopDown:
    built = pipeline_of(conditioned_config(detector, **changes), data)
    assert isinstance(built, ConditionalTopDown)
    built.log_dict = lambda *arguments, **settings: None  # no trainer to log to
    return built


class ToldPoses(PoseDetector):
    """Finds the poses it is told to, in the frames' pixels."""

    origin = "poses it is told"

    def __init__(self, found: Sequence[PoseInstances], like: Detector) -> None:
        super().__init__(like.rule)
        self.found = list(found)

    def find(self, batch: PoseBatch) -> list[PoseInstances]:
        return self.found


def poses(keypoints: Tensor, scores: Sequence[float]) -> PoseInstances:
    return PoseInstances.from_keypoints(keypoints, torch.ones(keypoints.shape[:2]), torch.tensor(list(scores)))


def labelled(batch: PoseBatch, index: int) -> Tensor:
    """The labelled poses of a frame: (N, K, 2)."""
    keypoints = batch.keypoints_in_crop[index]
    return keypoints[~keypoints.isnan().any(dim=-1).all(dim=-1)]
