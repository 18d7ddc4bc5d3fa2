from pathlib import Path

import numpy as np
import pytest
import torch

from dlcpose.losses.heatmap import binary_cross_entropy
from dlcpose.pipelines.finite_values import DivergedError, FiniteLosses
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from tests.made_up_runs import frames_of, pipeline_of, run_of, tiny_config, trainer_of


def test_a_loss_that_is_not_finite_names_the_images_of_its_batch() -> None:
    losses = FiniteLosses()
    losses.add(1, {"train/loss": torch.tensor(1.0)}, ["a.png"])
    with pytest.raises(DivergedError, match=r"train/loss_heatmap is nan at step 2.*b\.png, c\\n\.png") as caught:
        losses.add(
            2, {"train/loss": torch.tensor(1.0), "train/loss_heatmap": torch.tensor(np.nan)}, ["b.png", "c\n.png"]
        )
    assert "\n" not in str(caught.value)


def test_a_gpu_is_not_waited_for_at_each_step_but_before_anything_is_saved() -> None:
    losses = FiniteLosses()
    elsewhere = torch.ones((), device="meta")  # a device whose values cannot be looked at
    losses.add(1, {"train/loss": elsewhere}, ["a.png"])
    with pytest.raises((NotImplementedError, RuntimeError)):
        losses.check()


def test_cross_entropy_is_nan_where_torch_refuses() -> None:
    pred = torch.tensor([[[[0.5, torch.nan]]]], requires_grad=True)
    assert binary_cross_entropy(pred, torch.zeros(1, 1, 1, 2)).isnan()
    assert not binary_cross_entropy(torch.tensor([[[[0.5, 0.2]]]]), torch.zeros(1, 1, 1, 2)).isnan()


def test_a_training_that_diverges_ends_and_leaves_its_checkpoint_as_it_was(tmp_path: Path) -> None:
    pipeline, module = run_of(tiny_config(), frames_of(4), batch_size=2)
    trainer = trainer_of(tmp_path, max_epochs=1)
    trainer.fit(pipeline, datamodule=module)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    before = (tmp_path / "last.ckpt").read_bytes()
    with torch.no_grad():
        pipeline.backbone.get_parameter(next(name for name, _ in pipeline.backbone.named_parameters())).fill_(np.nan)
    with pytest.raises(DivergedError, match="not saved"):
        trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == before
    with pytest.raises(DivergedError, match=r"step 1, whose batch holds"):
        trainer_of(tmp_path, max_epochs=1).fit(pipeline, datamodule=module)
    read_checkpoint_file(tmp_path / "last.ckpt")


def test_maps_that_are_not_finite_are_no_places() -> None:
    pipeline = pipeline_of(tiny_config(), frames_of(1))
    maps = pipeline.head(pipeline.neck(pipeline.backbone(torch.zeros(1, 3, 64, 64))))
    maps.heatmaps[:, 0, 0, 0] = torch.nan
    (instances,) = pipeline.head.decode(maps)
    assert instances.keypoints_in_crop[0].isnan().all(dim=-1).tolist()[0]
    assert float(instances.keypoint_scores[0, 0]) == 0
    assert not instances.keypoints_in_crop[0, 1:].isnan().any()
