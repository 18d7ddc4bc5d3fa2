"""The shared step of every pipeline, on a network small enough to learn two pictures by heart."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dlcpose.codecs.affine import apply_affine, invert_affine
from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.pipelines.bottom_up import BottomUp
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PoseInstances
from tests.made_up_runs import frames_of, option, pipeline_of, run_of, tiny_config, trainer_of

DATA = frames_of(4)


def batch_of(pipeline: BottomUp, indices: list[int] | None = None) -> PoseBatch:
    return collate([fit_to_canvas(DATA[index], pipeline.frame_input) for index in indices or [0, 1]])


def trainable() -> BottomUp:
    pipeline = pipeline_of(tiny_config(), DATA)
    pipeline.log_dict = lambda *arguments, **settings: None  # no trainer to log to
    return pipeline


def overfit(pipeline: BottomUp, steps: int, rate: float = 2e-3) -> list[float]:
    """The loss before each step on one batch."""
    batch = batch_of(pipeline)
    optimizer = torch.optim.AdamW(pipeline.parameters(), lr=rate)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * rate, total_steps=steps)
    pipeline.train()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = pipeline.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow  # as tests/test_every_model.py
def test_two_hundred_steps_learn_two_pictures_by_heart() -> None:
    pipeline = trainable()
    losses = overfit(pipeline, 200)
    assert losses[-1] < 0.25 * losses[0]
    assert np.mean(losses[-20:]) < np.mean(losses[:20])
    with torch.inference_mode():
        predictions = pipeline.eval().predict_batch(batch_of(pipeline))
    for prediction, frame in zip(predictions, DATA.frames, strict=False):
        apart = np.linalg.norm(prediction.keypoints_in_image[0] - frame.keypoints_in_image[0], axis=-1)
        assert np.nanmax(apart) < 2


def test_a_few_steps_lower_the_loss() -> None:
    losses = overfit(trainable(), 10)
    assert losses[-1] < losses[0]


def test_training_validation_and_prediction_normalize_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, seen = trainable().eval(), []
    pipeline.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    batch = batch_of(pipeline)
    with torch.no_grad():
        pipeline.training_step(batch, 0)
        pipeline.validation_step(batch, 0)
        pipeline.predict_batch(batch)
    assert len(seen) == 3
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)
    torch.testing.assert_close(seen[0], seen[2], rtol=0, atol=0)
    assert batch.images.dtype == torch.uint8  # the batch itself stays what it was


def test_normalizing_is_torchvisions() -> None:
    from torchvision.transforms.v2.functional import normalize

    pipeline = trainable()
    pixels = batch_of(pipeline)
    expected = normalize(pixels.images.float() / 255, list(pipeline.model_input.mean), list(pipeline.model_input.std))
    images = pipeline.normalized(pixels).images
    torch.testing.assert_close(images, expected)
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("missing", ["some", "all", "no animals"])
def test_missing_labels_do_not_poison_gradients(missing: str) -> None:
    pipeline = trainable().train()
    batch = batch_of(pipeline)
    if missing == "some":
        batch.keypoints_in_crop[0, :, ::2] = torch.nan
    elif missing == "all":
        batch.keypoints_in_crop[:] = torch.nan
    else:
        batch = PoseBatch(**{**vars(batch), "keypoints_in_crop": batch.keypoints_in_crop[:, :0]})
    pipeline.training_step(batch, 0).backward()
    gradients = [weight.grad for weight in pipeline.parameters() if weight.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_predictions_are_in_the_pixels_of_the_source() -> None:
    pipeline = trainable()
    wide = Input(96, 160)
    frames = [DATA[index] for index in (0, 3)]
    batch = collate([fit_to_canvas(sample, wide) for sample in frames])
    found = [
        PoseInstances.from_keypoints(
            points, torch.ones(points.shape[:2]), unique_in_crop=points[0], unique_scores=torch.ones(len(points[0]))
        )
        for points in batch.keypoints_in_crop
    ]
    for prediction, sample in zip(pipeline.predictions_in_image(batch, found), frames, strict=True):
        assert prediction.key == sample.labels.key
        np.testing.assert_allclose(prediction.keypoints_in_image, sample.labels.keypoints_in_image, atol=1e-3)
        np.testing.assert_allclose(prediction.unique_in_image, sample.labels.keypoints_in_image[0], atol=1e-3)
        assert prediction.boxes_in_image.shape == (1, 4)
        assert np.isnan(prediction.boxes_in_image).all()
    back = apply_affine(invert_affine(batch.crop_to_image.numpy()[0]), frames[0].labels.keypoints_in_image)
    np.testing.assert_allclose(back, batch.keypoints_in_crop[0], atol=1e-3)


def test_validation_takes_the_figures_over_all_frames(tmp_path: Path) -> None:
    pipeline, module = run_of(tiny_config(), frames_of(8), batch_size=3)
    trainer = trainer_of(tmp_path)
    trainer.fit(pipeline, datamodule=module)
    logged = trainer.callback_metrics
    predictions = []
    with torch.no_grad():
        for batch in module.val_dataloader():
            predictions += pipeline.eval().predict_batch(batch)
    assert len(predictions) == 4
    labels = [pipeline.labels[prediction.key] for prediction in predictions]
    (metric,) = pipeline.metrics.values()
    for name, value in metric(EvaluatedFrames(predictions, labels, pipeline.skeleton)).items():
        if np.isfinite(value):
            assert float(logged[f"val/{name}"]) == pytest.approx(value, rel=1e-4)
    assert float(logged["val/loss"]) == pytest.approx(
        float(logged["val/loss_heatmap"]) + float(logged["val/loss_offset"]), rel=1e-5
    )
    assert not pipeline.epoch_record.val_predictions


def test_frozen_weights_stay_as_they_are(tmp_path: Path) -> None:
    config = tiny_config(backbone={**tiny_config()["backbone"], "frozen": True})
    pipeline, module = run_of(config, DATA)
    before = {name: value.clone() for name, value in pipeline.state_dict().items()}
    trainer = trainer_of(tmp_path, max_epochs=2)
    trainer.fit(pipeline, datamodule=module)
    held = {id(weight) for group in trainer.optimizers[0].param_groups for weight in group["params"]}
    assert held == {id(weight) for name, weight in pipeline.named_parameters() if not name.startswith("backbone.")}
    changed = {name for name, value in pipeline.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(name.startswith("backbone.") for name in changed)


@pytest.mark.parametrize("scheduler", ["cosine", "plateau"])
def test_the_schedule_spans_the_run(tmp_path: Path, scheduler: str) -> None:
    pipeline, module = run_of(tiny_config(scheduler=option("scheduler", scheduler)), DATA)
    trainer = trainer_of(tmp_path, max_epochs=4)
    trainer.fit(pipeline, datamodule=module)
    (described,) = trainer.lr_scheduler_configs
    assert described.interval == ("step" if scheduler == "cosine" else "epoch")
    if scheduler == "cosine":
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * 1e-3)


def test_what_was_built_to_predict_does_not_train() -> None:
    with pytest.raises(ValueError, match="built to predict"):
        pipeline_of(tiny_config(), DATA, to_train=False).configure_optimizers()


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    states = []
    for workers in (0, 1):
        config = tiny_config(augmentation=option("augmentation", "strong"))
        pipeline, module = run_of(config, frames_of(4), workers=workers)
        trainer_of(tmp_path, max_epochs=2).fit(pipeline, datamodule=module)
        states.append(pipeline.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=0)
