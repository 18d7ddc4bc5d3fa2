"""What a model learns from clips beside its labels, and what it leaves as it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlcpose.datasets.datamodule import PoseDataModule
from dlcpose.datasets.video_clips import VideoClips
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.pipelines.clip_losses import check_learns_from_clips, clip_losses
from dlcpose.structures.errors import ConfigError
from dlcpose.unlabeled.temporal_smoothness import TemporalSmoothness
from dlcpose.unlabeled.video import VideoObjective
from tests.datasets.numbered_videos import write_numbered
from tests.made_up_runs import frames_of, halves, option, pipeline_of, run_of, tiny_config, trainer_of


def objective_of(weight: float, begin: float = 0.0) -> VideoObjective:
    return VideoObjective({"smooth": TemporalSmoothness(weight, epsilon=0.0, min_score=0.0)}, begin, begin)


def test_gradients_reach_the_backbone_and_running_statistics_stay() -> None:
    model = pipeline_of(tiny_config(), frames_of(4)).train()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [layer.running_mean.clone() for layer in layers if layer.running_mean is not None]
    losses = clip_losses(model, torch.randn(6, 3, 64, 64), 2, objective_of(1.0), strength=0.5)
    assert list(losses) == ["unlabeled_smooth"]
    losses["unlabeled_smooth"].backward()
    first = next(weight for weight in model.backbone.parameters() if weight.requires_grad)
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    for layer, mean in zip(layers, before, strict=True):
        assert layer.training
        torch.testing.assert_close(layer.running_mean, mean)


def trained(folder: Path, video: Path, objective: VideoObjective | None) -> tuple[PoseEstimator, dict[str, Any]]:
    data = frames_of(4)
    model, plain = run_of(tiny_config(), data, objective=objective)
    clips = VideoClips([video], model.frame_input, count=2, frames=3, per_batch=1, seed=0)
    module = PoseDataModule(
        data, halves(data), model.frame_input, plain.schedule, seed=0, batch_size=2, workers=0, clips=clips
    )
    trainer = trainer_of(folder, max_epochs=2)
    trainer.fit(model, datamodule=module)
    return model, dict(trainer.callback_metrics)


def test_clips_change_what_is_learned_only_from_where_they_count(tmp_path: Path) -> None:
    video = write_numbered(tmp_path / "a.mp4", 12)
    plain, without = trained(tmp_path, video, None)
    late, figures = trained(tmp_path, video, objective_of(1.0, begin=0.5))
    never, _ = trained(tmp_path, video, objective_of(1.0, begin=1.0))
    assert "train/loss_unlabeled_smooth" in figures
    assert "train/loss_unlabeled_smooth" not in without
    assert float(figures["train/loss"]) > float(figures["train/loss_heatmap"])
    for (name, ours), theirs, others in zip(
        plain.named_parameters(), never.parameters(), late.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, msg=name)
        if name.startswith("backbone.") and name.endswith("conv1.weight"):
            assert not torch.equal(ours, others), name


def test_models_that_cannot_follow_a_keypoint_are_refused() -> None:
    model = pipeline_of(tiny_config(), frames_of(4))
    check_learns_from_clips(model, finds_one_animal=True, head=model.head)
    with pytest.raises(ConfigError, match=r"unlabeled\.losses: .*finds several animals"):
        check_learns_from_clips(model, finds_one_animal=False, head=model.head)
    node = {**option("head", "dekr"), "heatmap_loss": option("loss", "binary_cross_entropy")}
    dekr = pipeline_of(tiny_config(head=node), frames_of(4)).head
    with pytest.raises(ConfigError, match=r"unlabeled\.losses: DekrHead"):
        check_learns_from_clips(model, finds_one_animal=True, head=dekr)
