"""The laws that all pipelines obey, run on each option of conf/pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.detectors.base import Boxes
from dlcpose.pipelines.conditional_top_down import ConditionalTopDown
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.instances import PoseInstances, PosePrediction
from tests.made_up_runs import frames_of, option, pipeline_of, tiny_config
from tests.pipelines.made_up_conditional import FixedPoses, conditional_config
from tests.pipelines.made_up_top_down import CENTERS, FixedBoxes, top_down_config

OPTIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "pipeline").glob("*.yaml"))


def config_of(name: str) -> dict[str, Any]:
    """Of a pipeline, with components that suit it."""
    pipeline = option("pipeline", name)
    if "seed" in pipeline:
        pipeline["seed"] = 0
    if "crops" in pipeline:
        pipeline["crops"] = {**pipeline["crops"], "seed": 0, "threshold": 0.0}
    if "conditional" in name:
        return {**conditional_config(), "pipeline": pipeline}
    if "top_down" in name:
        return {**top_down_config(CENTERS), "pipeline": pipeline}
    return tiny_config(pipeline=pipeline, **({"detector": CENTERS} if name == "detection" else {}))


def uncertain_poses(batch: PoseBatch) -> list[PoseInstances]:
    """Poses around the labeled ones that are unlike in every score; a keypoint of each has none."""
    found = []
    for keypoints in batch.keypoints_in_crop:
        scores = torch.rand(keypoints.shape[:2])
        scores[:, 0] = 0.0
        noisy = (keypoints + 3 * torch.randn(keypoints.shape)).nan_to_num(40.0)
        found.append(PoseInstances.from_keypoints(noisy, scores, torch.full((len(keypoints),), 0.9)))
    return found


def assert_same(ours: list[PosePrediction], theirs: list[PosePrediction]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.key == other.key
        for name in ("keypoints_in_image", "keypoint_scores", "scores", "boxes_in_image"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("name", OPTIONS)
def test_images_and_videos_are_predicted_alike(name: str) -> None:
    """A video's batches are decoded while the next is computed, so they go through the two halves of predict_batch."""
    data = frames_of(2, animals=1 if name == "bottom_up" else 3, height=96, width=128)
    pipeline = pipeline_of(config_of(name), data).eval()
    batch = collate([fit_to_canvas(data[index], pipeline.frame_input) for index in range(2)])
    if isinstance(pipeline, ConditionalTopDown):
        pipeline.detector = FixedPoses(uncertain_poses(batch), pipeline.detector)
    elif pipeline.detector is not None:  # an untrained one finds nothing
        boxes = [Boxes(each, torch.rand(len(each))) for each in pipeline.detector.gt_boxes(batch)]
        pipeline.detector = FixedBoxes(boxes, pipeline.detector)
    with torch.inference_mode():
        whole = pipeline.predict_batch(batch)
        assert sum(map(len, whole)) > 0
        assert_same(pipeline.decode_maps(batch, pipeline.compute_maps(batch)), whole)
        if isinstance(pipeline, ConditionalTopDown):
            assert_same(pipeline.predict_with_conditions(batch, pipeline.detector.detect_poses(batch))[0], whole)
