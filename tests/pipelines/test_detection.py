"""A detector trained alone, through the same steps as every other run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.detectors.base import Boxes
from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.pipelines.detection import Detection
from dlcpose.predict import load
from dlcpose.structures.batch import collate
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from tests.made_up_runs import checkpoint_of, frames_of, pipeline_of, run_of, tiny_config, trainer_of
from tests.pipelines.made_up_top_down import CENTERS, GROUND_TRUTH, RULE, FixedBoxes

DATA = frames_of(4, animals=2, height=96, width=128)


def detection_config(detector: dict[str, Any] = CENTERS) -> dict[str, Any]:
    return tiny_config(
        pipeline={"_target_": "dlcpose.pipelines.detection.Detection", "_partial_": True},
        detector=detector,
        metric={"boxes": {"_target_": "dlcpose.metrics.boxes.BoxAveragePrecision", "boxes": RULE}},
    )


def test_gt_boxes_score_as_perfect_from_any_input() -> None:
    pipeline = pipeline_of(detection_config(), DATA)
    assert isinstance(pipeline, Detection)
    pipeline.model_input = Input(64, 160)
    batch = collate([fit_to_canvas(DATA[index], pipeline.frame_input) for index in range(4)])
    gt_boxes = pipeline.detector.gt_boxes(batch)
    pipeline.detector = FixedBoxes([Boxes(boxes, torch.tensor([0.9, 0.8])) for boxes in gt_boxes], pipeline.detector)
    predictions = pipeline.predict_batch(batch)
    figures = (
        pipeline.metrics["boxes"](EvaluatedFrames(predictions, DATA.frames, DATA.skeleton)) if pipeline.metrics else {}
    )
    assert figures["box_ap"] == pytest.approx(1)
    assert all(np.isnan(each.keypoints_in_image).all() for each in predictions)
    np.testing.assert_allclose(predictions[0].scores, [0.9, 0.8])


def test_a_run_logs_its_figures_and_its_checkpoint_predicts(tmp_path: Path) -> None:
    pipeline, module = run_of(detection_config(), DATA)
    trainer = trainer_of(tmp_path, max_epochs=1)
    trainer.fit(pipeline, datamodule=module)
    logged = trainer.callback_metrics
    assert {"val/box_ap", "val/box_ap50", "val/loss", "val/loss_centers", "val/loss_boxes", "train/loss"} <= set(logged)
    checkpoint = checkpoint_of(tmp_path, detection_config(), DATA)
    predictor = load(checkpoint, device="cpu")
    assert isinstance(predictor.pipeline, Detection)
    (prediction,) = predictor.predict([DATA[0].image])
    assert prediction.boxes_in_image.shape == (len(prediction), 4)
    assert {name.split(".")[0] for name in torch.load(checkpoint, weights_only=True)["state_dict"]} == {"detector"}


def test_a_step_lowers_the_loss() -> None:
    pipeline = pipeline_of(detection_config(), DATA).train()
    pipeline.log_dict = lambda *arguments, **settings: None
    batch = collate([fit_to_canvas(DATA[index], pipeline.frame_input) for index in range(4)])
    optimizer = torch.optim.AdamW(pipeline.parameters(), lr=2e-3)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = pipeline.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_detector_that_is_not_trainable_is_refused() -> None:
    with pytest.raises(ConfigError, match="detector: GroundTruthDetector"):
        pipeline_of(detection_config(GROUND_TRUTH), DATA)
