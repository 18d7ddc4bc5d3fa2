"""The rule that makes boxes of poses between two runs of a detector travels with an exported model."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dlcpose.detectors.box_rules import around_keypoints, padded_keypoints
from dlcpose.detectors.centernet_boxes import CenterNetBoxes
from dlcpose.model_formats.graph import box_rule_settings
from dlcpose.pipelines.animal_crops import CropSettings
from dlcpose.prediction.graph_description import CropsOfGraph

POSES = torch.tensor([[[10.0, 20.0], [60.0, 50.0]]])
NO_BOXES = torch.full((1, 4), torch.nan)
CROPS = CropSettings(0.1, 16.0, 0.0, 0.0, 0.3, 0.7, 0)


@pytest.mark.parametrize(
    "rule",
    [
        padded_keypoints,
        functools.partial(padded_keypoints, padding=7.0),
        functools.partial(around_keypoints, margin=0.3),
    ],
)
def test_it_makes_the_same_boxes(rule: Callable[..., Any]) -> None:
    detector: Any = SimpleNamespace(box_rule=rule)
    kept = CropsOfGraph(CROPS, CenterNetBoxes.__new__(CenterNetBoxes), "", **box_rule_settings(detector)).box_rule
    assert kept is not None
    torch.testing.assert_close(kept(POSES, NO_BOXES), rule(POSES, NO_BOXES))


def test_a_rule_of_the_users_own_does_not() -> None:
    detector: Any = SimpleNamespace(box_rule=lambda keypoints, boxes: boxes)
    assert box_rule_settings(detector) == {}
