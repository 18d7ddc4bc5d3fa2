"""The mirror image is answered with the mirrored animals by way of boxes and crops too (heads: heads/test_laws.py)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.heads.heatmap import HeatmapMaps
from dlcpose.pipelines.base import PoseMaps
from dlcpose.pipelines.top_down import TopDown
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.instances import PosePrediction
from tests.made_up_runs import frames_of
from tests.pipelines.made_up_top_down import top_down_of

DATA = frames_of(2, animals=3, height=96, width=128)


def mirrored(batch: PoseBatch) -> PoseBatch:
    last = batch.images.shape[-1] - 1
    order = list(DATA.skeleton.flip_order)
    keypoints = batch.keypoints_in_crop[:, :, order] * torch.tensor([-1.0, 1.0]) + torch.tensor([last, 0.0])
    boxes = batch.boxes_in_crop[..., [2, 1, 0, 3]] * torch.tensor([-1.0, 1.0, -1.0, 1.0])
    boxes = boxes + torch.tensor([last, 0.0, last, 0.0])
    return replace(batch, images=batch.images.flip(-1), keypoints_in_crop=keypoints, boxes_in_crop=boxes)


def exactly(pipeline: TopDown, batch: PoseBatch, monkeypatch: pytest.MonkeyPatch) -> list[PosePrediction]:
    """What is found where the network finds in each crop just what is targets of its animal."""
    targets = pipeline.encode(pipeline.gt_crops(batch).batch).animals.heatmaps

    def forward(images: Tensor) -> PoseMaps:
        return PoseMaps(HeatmapMaps(targets[: len(images)], None), ())

    monkeypatch.setattr(pipeline, "forward", forward)
    return pipeline.predict_batch(batch)


def test_top_down_predicts_mirrored_animals_in_the_mirror_image(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = top_down_of(DATA)
    batch = collate([fit_to_canvas(DATA[index], pipeline.frame_input) for index in range(2)])
    last, order = batch.images.shape[-1] - 1, list(DATA.skeleton.flip_order)
    plain = exactly(pipeline, batch, monkeypatch)
    for one, other in zip(plain, exactly(pipeline, mirrored(batch), monkeypatch), strict=True):
        assert len(one) == len(other) == 3
        poses = other.keypoints_in_image[:, order] * np.array([-1, 1]) + np.array([last, 0])
        apart = np.nanmax(np.linalg.norm(one.keypoints_in_image[:, None] - poses, axis=-1), axis=-1)  # (M, M)
        partners = apart.argmin(axis=1)
        assert sorted(partners) == [0, 1, 2]
        assert apart.min(axis=1).max() < 0.05
        boxes = other.boxes_in_image[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1]) + np.array([last, 0, last, 0])
        np.testing.assert_allclose(boxes[partners], one.boxes_in_image, atol=1e-3)
        np.testing.assert_allclose(other.scores[partners], one.scores, atol=1e-3)
