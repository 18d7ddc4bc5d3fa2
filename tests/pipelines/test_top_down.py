"""Top-down: from frames to crops of single animals, and back to the frames."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils._pytree import tree_map_only

from dlcpose.build import build_pipeline
from dlcpose.codecs.affine import apply_affine
from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.detectors.base import Boxes
from dlcpose.heads.heatmap import HeatmapMaps
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseMaps
from dlcpose.pipelines.crop_poses import _with_unique_identities
from dlcpose.pipelines.top_down import TopDown
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.sample import PoseSample
from tests.made_up_runs import frames_of, option, pipeline_of, run_of, tiny_config, trainer_of
from tests.pipelines.made_up_top_down import CENTERS, INPUT, FixedBoxes, top_down_config, top_down_of

DATA = frames_of(4, animals=3, height=96, width=128)


def batch_of(pipeline: TopDown, indices: list[int] | None = None, data: SyntheticFrames = DATA) -> PoseBatch:
    return collate([fit_to_canvas(data[index], pipeline.frame_input) for index in indices or [0, 1]])


def give_boxes(pipeline: TopDown, *of_frames: tuple[Tensor, list[float]]) -> None:
    """Replace the detector by one of these boxes and scores in each frame."""
    detections = [Boxes(boxes, torch.tensor(scores)) for boxes, scores in of_frames]
    pipeline.detector = FixedBoxes(detections, pipeline.detector)


def exact(pipeline: TopDown, batch: PoseBatch) -> Callable[[Tensor], PoseMaps]:
    """A network whose heatmaps are the targets of the ground-truth crops."""
    targets = pipeline.encode(pipeline.gt_crops(batch).batch)
    return lambda images: PoseMaps(HeatmapMaps(targets.animals.heatmaps[: len(images)], None), ())


@pytest.mark.parametrize("frame_input", [Input(multiple_of=32), Input(192, 320, multiple_of=32)])
def test_gt_boxes_and_exact_maps_give_the_labels(frame_input: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = top_down_of(DATA)
    batch = collate([fit_to_canvas(DATA[index], frame_input) for index in (0, 1)])
    monkeypatch.setattr(pipeline, "forward", exact(pipeline, batch))
    for prediction, frame in zip(pipeline.predict_in_gt_boxes(batch), DATA.frames, strict=False):
        assert prediction.key == frame.key
        apart = np.linalg.norm(prediction.keypoints_in_image - frame.keypoints_in_image, axis=-1)  # (N, K)
        assert np.nanmax(apart) < 0.05
        assert np.isnan(prediction.boxes_in_image).all()
        np.testing.assert_allclose(prediction.scores, np.nanmean(np.where(np.isnan(apart), 0, 1), axis=1), atol=0.15)


def test_predictions_carry_boxes_and_their_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = top_down_of(DATA)
    batch = batch_of(pipeline)
    maps = exact(pipeline, batch)
    boxes = pipeline.gt_crops(batch).batch
    gt = pipeline.detector.gt_boxes(batch)
    give_boxes(pipeline, (gt[0], [0.9, 0.8, 0.7]), (gt[1], [0.6, 0.5, 0.4]))
    monkeypatch.setattr(pipeline, "forward", maps)
    full = boxes.keypoints_in_crop.isnan().any(dim=-1).sum(dim=-1).view(2, 3)
    for index, prediction in enumerate(pipeline.predict_batch(batch)):
        assert len(prediction) == 3
        assert (np.diff(prediction.scores) <= 0).all()
        apart = np.abs(prediction.boxes_in_image[:, None] - gt[index].numpy()).max(axis=-1)  # (M, N)
        order = apart.argmin(axis=1)
        assert apart.min(axis=1).max() < 1e-3
        box_scores = np.array([0.9, 0.8, 0.7] if index == 0 else [0.6, 0.5, 0.4])
        share = 1 - full[index].numpy() / len(DATA.skeleton)
        np.testing.assert_allclose(prediction.scores, (box_scores * share)[order], atol=0.15)


def test_boxes_below_the_threshold_are_left_out() -> None:
    pipeline = top_down_of(DATA, threshold=0.5)
    batch = batch_of(pipeline)
    gt = pipeline.detector.gt_boxes(batch)
    give_boxes(pipeline, (gt[0], [0.9, 0.49, 0.1]), (gt[1][:0], []))
    first, second = pipeline.predict_batch(batch)
    assert (len(first), len(second)) == (1, 0)
    assert second.keypoints_in_image.shape == (0, len(DATA.skeleton), 2)


def test_frames_without_boxes_have_no_animals() -> None:
    pipeline = top_down_of(DATA)
    give_boxes(pipeline, (torch.zeros(0, 4), []), (torch.zeros(0, 4), []))
    assert [len(prediction) for prediction in pipeline.predict_batch(batch_of(pipeline))] == [0, 0]


def test_pose_nms_keeps_one_of_duplicates_and_both_of_close_animals(monkeypatch: pytest.MonkeyPatch) -> None:
    data = frames_of(1, animals=1, height=96, width=128)
    pipeline = top_down_of(data)
    batch = batch_of(pipeline, [0], data)
    (box,) = pipeline.detector.gt_boxes(batch)[0]
    keypoints = batch.keypoints_in_crop
    side = float((box[2:] - box[:2]).max())

    def predicted(shift: float) -> int:
        """Predictions for two animals, the second `shift` lengths to the right of the first."""
        displacement = torch.tensor([shift * side, 0.0])
        moved = box + displacement.repeat(2)
        pair = replace(
            batch, keypoints_in_crop=torch.cat([keypoints, keypoints + displacement], dim=1), images=batch.images
        )
        pair = replace(pair, **{name: getattr(batch, name).repeat(1, 2) for name in ("areas", "identities")})
        pair = replace(
            pair, visibility=batch.visibility.repeat(1, 2, 1), boxes_in_crop=batch.boxes_in_crop.repeat(1, 2, 1)
        )
        crops = pipeline.crops(pair, [torch.stack([box, moved])])
        points = torch.stack([keypoints[0, 0], keypoints[0, 0] + displacement])
        targets = pipeline.encode(
            replace(crops.batch, keypoints_in_crop=apply_affine(crops.frame_to_crop, points)[:, None])
        )
        give_boxes(pipeline, (torch.stack([box, moved]), [0.9, 0.8]))
        monkeypatch.setattr(pipeline, "forward", lambda images: targets)
        (prediction,) = pipeline.predict_batch(pair)
        return len(prediction)

    assert predicted(0.0) == 1
    assert predicted(0.02) == 1
    assert predicted(0.35) == 2


# ------------------------------------------------------------------------------------------------ training


def test_labels_and_pixels_of_a_crop_agree() -> None:
    """The brightest pixel of a frame lies at the keypoint, and at the keypoint of the crop."""
    pipeline = top_down_of(DATA)
    batch = batch_of(pipeline, [0])
    batch.images[:] = 0
    lit = batch.keypoints_in_crop[0, 0]
    index = int((~lit.isnan().any(dim=-1)).nonzero()[0])
    x, y = (int(value) for value in lit[index].round())
    batch.images[0, :, y, x] = 255
    crops = pipeline.gt_crops(batch).batch
    place = crops.keypoints_in_crop[0, 0, index]
    image = crops.images[0, 0]
    assert image.max() > 0
    brightest = torch.tensor([int(image.argmax()) % image.shape[1], int(image.argmax()) // image.shape[1]])
    magnified = pipeline.gt_crops(batch).frame_to_crop[0, 0, 0]
    assert (brightest - place).abs().max() <= 0.5 * magnified + 1  # the label itself is not a whole number


def test_crops_are_of_labeled_animals_only() -> None:
    pipeline = top_down_of(DATA)
    batch = batch_of(pipeline)
    keypoints, boxes = batch.keypoints_in_crop.clone(), batch.boxes_in_crop.clone()
    keypoints[0, 0] = math.nan  # a box, no keypoints
    keypoints[0, 1] += 1000  # outside the frame
    keypoints[1, 0, 1:] = math.nan  # a single keypoint
    boxes[1, 0] = math.nan
    crops = pipeline.gt_crops(replace(batch, keypoints_in_crop=keypoints, boxes_in_crop=boxes))
    assert crops.frame_indices.tolist() == [0, 1, 1, 1]
    assert crops.batch.keys == (batch.keys[0], *[batch.keys[1]] * 3)
    assert (~crops.batch.keypoints_in_crop.isnan().any(dim=-1)).sum(dim=-1)[1] == 1
    shown = 64 / crops.frame_to_crop[1, 1, 1]
    assert shown == pytest.approx(pipeline.settings.min_size * 64 / 96)  # px of the frame, not a point


def test_keypoints_outside_a_crop_keep_their_position() -> None:
    pipeline = top_down_of(DATA)
    batch = batch_of(pipeline, [0])
    keypoints = batch.keypoints_in_crop.clone()
    keypoints[0, 0, 0, 0] = -60.0  # the animal reaches out of the frame, its box does not
    crops = pipeline.gt_crops(replace(batch, keypoints_in_crop=keypoints))
    assert crops.batch.keypoints_in_crop[0, 0, 0, 0] < 0
    targets = pipeline.encode(crops.batch).animals.heatmaps
    assert targets[0, 0].max() < 0.5


def test_random_numbers_come_from_the_place_in_the_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = top_down_of(DATA)
    batch, seen = batch_of(pipeline), []
    monkeypatch.setattr(pipeline, "_step", lambda crops, split: (seen.append(crops.keypoints_in_crop), None))
    for seed, index in ((1, 0), (2, 0), (3, 1)):
        torch.manual_seed(seed)
        pipeline.training_step(batch, index)
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(seen[0].nan_to_num(), seen[2].nan_to_num())
    pipeline.settings = replace(pipeline.settings, seed=5)
    pipeline.training_step(batch, 0)
    assert not torch.equal(seen[0].nan_to_num(), seen[3].nan_to_num())
    still = top_down_of(DATA, shift=0.0, scale=0.0)
    plain = still.gt_crops(batch, np.random.default_rng(0)).batch.keypoints_in_crop
    torch.testing.assert_close(plain, still.gt_crops(batch).batch.keypoints_in_crop, equal_nan=True)


@pytest.mark.parametrize("missing", ["some", "all", "no animals"])
def test_missing_labels_do_not_poison_gradients(missing: str) -> None:
    pipeline = top_down_of(DATA).train()
    batch = batch_of(pipeline)
    if missing == "some":
        batch.keypoints_in_crop[0, :, ::2] = math.nan
    elif missing == "all":
        batch.keypoints_in_crop[:] = math.nan
    else:
        none = {name: value[:, :0] for name, value in vars(batch).items() if name in ANIMALS}
        batch = replace(batch, **none)
    before = {name: value.clone() for name, value in pipeline.named_buffers()}
    loss = pipeline.training_step(batch, 0)
    loss.backward()
    gradients = [weight.grad for weight in pipeline.parameters() if weight.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    if missing != "some":  # no targets, no gradient
        assert float(loss) == 0
        assert not any(gradient.any() for gradient in gradients)
        assert all(torch.equal(value, before[name]) for name, value in pipeline.named_buffers())
        pipeline.validation_step(batch, 0)
        assert [len(each) for each in pipeline.epoch_record.val_predictions] == [0, 0]


ANIMALS = ("keypoints_in_crop", "visibility", "boxes_in_crop", "areas", "identities")


def test_the_detector_is_not_trained(tmp_path: Path) -> None:
    config = top_down_config(CENTERS)
    pipeline, module = run_of(config, DATA)
    before = {name: value.clone() for name, value in pipeline.state_dict().items()}
    trainer = trainer_of(tmp_path)
    trainer.fit(pipeline, datamodule=module)
    held = {id(weight) for group in trainer.optimizers[0].param_groups for weight in group["params"]}
    assert held == {id(weight) for name, weight in pipeline.named_parameters() if not name.startswith("detector.")}
    changed = {name for name, value in pipeline.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(name.startswith("detector.") for name in changed)
    assert not pipeline.train().detector.training
    assert math.isfinite(float(trainer.callback_metrics["val/mean_error_px"]))
    assert math.isfinite(float(trainer.callback_metrics["val/loss"]))


def test_frames_are_independent_of_their_batch() -> None:
    pipeline = top_down_of(DATA, CENTERS).eval()
    pipeline.settings = replace(pipeline.settings, threshold=0.0)
    batch = batch_of(pipeline)
    with torch.inference_mode():
        together = pipeline.predict_batch(batch)
        for index, expected in enumerate(together):
            (alone,) = pipeline.predict_batch(batch_of(pipeline, [index]))
            assert len(alone) == len(expected)
            np.testing.assert_allclose(alone.scores, expected.scores, atol=1e-4)
            np.testing.assert_allclose(alone.boxes_in_image, expected.boxes_in_image, atol=0.05)


# ------------------------------------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(("name", "value"), [("margin", -0.1), ("shift", -1.0), ("scale", -0.5), ("min_size", 0.0)])
def test_negative_amounts_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"pipeline\.crops.*{name}"):
        top_down_of(DATA, **{name: value})


@pytest.mark.parametrize("node", [option("input", "native"), {**INPUT, "height": 100}, {**INPUT, "width": 0}])
def test_an_input_that_is_no_size_of_crops_is_refused(node: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"input(\.width)?: "):
        pipeline_of({**top_down_config(), "input": node}, DATA)


def test_a_detector_is_required_by_top_down_models_only() -> None:
    with pytest.raises(ConfigError, match="detector: TopDown"):
        pipeline_of(top_down_config({}), DATA)
    with pytest.raises(ConfigError, match="detector: BottomUp"):
        pipeline_of(tiny_config(detector=CENTERS), frames_of(2))
    with pytest.raises(ConfigError, match=r"detector.*Identity"):
        pipeline_of(top_down_config({"_target_": "torch.nn.Identity"}), DATA)


def test_side_heads_of_the_animal_are_built_and_those_of_the_arena_are_not() -> None:
    """A crop shows an animal's identity, but not the unique keypoints."""
    data = frames_of(2, animals=2, unique_points=2, identity_marks=True)
    config = top_down_config()
    config["side_head"] = {
        "unique": {**option("side_head", "unique")["unique"], "head": {**config["head"], "_partial_": True}},
        "identity": option("side_head", "identity")["identity"],
    }
    parts = Instantiator()
    described = DataDescription(data.skeleton, Input(64, 96, multiple_of=32), 2, data.individuals)
    pipeline = build_pipeline(config, parts, described)
    assert isinstance(pipeline, TopDown)
    assert list(pipeline.side_heads) == ["identity"]
    assert pipeline.summary.endswith("without the unique keypoints")
    batch = batch_of(pipeline, data=data)
    assert pipeline.gt_crops(batch).batch.unique_in_crop.shape[1] == 0
    targets = pipeline.encode(pipeline.gt_crops(batch).batch)
    # NaN where unsupervised, which no network gives.
    maps = tree_map_only(torch.Tensor, lambda target: target.nan_to_num(), targets)
    pipeline.forward = lambda images: maps  # type: ignore[method-assign]
    for prediction, frame in zip(pipeline.predict_in_gt_boxes(batch), data.frames, strict=True):
        np.testing.assert_array_equal(prediction.identities, frame.identities)
        assert prediction.unique_in_image.shape == (0, 2)


def test_no_two_animals_of_a_frame_have_one_identity() -> None:
    animals = PoseInstances.from_keypoints(
        torch.zeros(4, 2, 2),
        torch.ones(4, 2),
        torch.tensor([0.9, 0.8, 0.7, 0.6]),
        identities=torch.tensor([1, 1, 0, -1]),
    )
    assert _with_unique_identities(animals).identities.tolist() == [1, -1, 0, -1]


def test_labels_do_not_help_prediction() -> None:
    """A trained detector sees only pixels: labeled frames are predicted as unlabeled ones are."""
    pipeline = top_down_of(DATA, CENTERS).eval()
    pipeline.settings = replace(pipeline.settings, threshold=0.0)
    sample = DATA[0]
    bare = replace(sample.labels, **{name: getattr(sample.labels, name)[:0] for name in (*LABELS,)})
    with torch.inference_mode():
        (one,) = pipeline.predict_batch(collate([fit_to_canvas(sample, pipeline.frame_input)]))
        (other,) = pipeline.predict_batch(
            collate([fit_to_canvas(PoseSample(bare, sample.image), pipeline.frame_input)])
        )
    np.testing.assert_array_equal(one.keypoints_in_image, other.keypoints_in_image)


LABELS = ("keypoints_in_image", "visibility", "boxes_in_image", "areas", "identities")


@pytest.mark.slow
def test_it_overfits_two_frames() -> None:
    pipeline = top_down_of(DATA, shift=0.05, scale=0.1).train()
    batch = batch_of(pipeline)
    optimizer = torch.optim.AdamW(pipeline.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=120)
    for step in range(120):
        optimizer.zero_grad()
        pipeline.training_step(batch, step).backward()
        optimizer.step()
        scheduler.step()
    with torch.inference_mode():
        predictions = pipeline.eval().predict_in_gt_boxes(batch)
    for prediction, frame in zip(predictions, DATA.frames, strict=False):
        apart = np.linalg.norm(prediction.keypoints_in_image - frame.keypoints_in_image, axis=-1)
        assert np.nanmedian(apart) < 2


class AfterTheFirstEpoch(Callback):
    """Keeps the checkpoint from which a killed run would go on."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "first.ckpt")


def test_a_resumed_run_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    states = []
    for resumed in (None, tmp_path / "first.ckpt"):
        pipeline, module = run_of(top_down_config(CENTERS), DATA)
        torch.manual_seed(
            0 if resumed is None else 1
        )  # random numbers drawn before the run was killed do not come back
        callbacks = [AfterTheFirstEpoch()] if resumed is None else []
        trainer = trainer_of(tmp_path, max_epochs=2, callbacks=callbacks)
        trainer.fit(pipeline, datamodule=module, ckpt_path=resumed, weights_only=True)
        states.append(pipeline.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=0, msg=name)
