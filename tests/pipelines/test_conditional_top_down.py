"""Conditional top-down: which animal is the target, where the crop lies, and what is predicted."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dlcpose.codecs.affine import apply_affine
from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.detectors.base import Boxes
from dlcpose.heads.heatmap import HeatmapMaps
from dlcpose.pipelines.base import PoseMaps
from dlcpose.pipelines.conditional_top_down import ConditionalTopDown
from dlcpose.structures.batch import PoseBatch, collate
from tests.made_up_runs import frames_of, option, pipeline_of, run_of, tiny_config, trainer_of
from tests.pipelines.made_up_conditional import FixedPoses, conditional_config, conditional_of, labeled, plain, poses
from tests.pipelines.made_up_top_down import INPUT, RULE

DATA = frames_of(4, animals=3, height=96, width=128)


def batch_of(
    pipeline: ConditionalTopDown, indices: tuple[int, ...] = (0, 1), data: SyntheticFrames = DATA
) -> PoseBatch:
    return collate([fit_to_canvas(data[index], pipeline.frame_input) for index in indices])


def give_conditions(pipeline: ConditionalTopDown, batch: PoseBatch, *scores: list[float]) -> None:
    """The labeled poses as conditions, with these scores in each frame."""
    conditions = [poses(labeled(batch, index)[: len(each)], each) for index, each in enumerate(scores)]
    pipeline.detector = FixedPoses(conditions, pipeline.detector)


def copying_network(pipeline: ConditionalTopDown) -> Callable[[Tensor], PoseMaps]:
    """A network whose heatmaps are the rendered conditions themselves, at the stride of its head."""

    def forward(images: Tensor) -> PoseMaps:
        heatmaps = torch.nn.functional.avg_pool2d(images[:, 3:], int(pipeline.head.stride))
        return PoseMaps(HeatmapMaps((heatmaps / heatmaps.amax(dim=(2, 3), keepdim=True)).nan_to_num(0.0), None), ())

    return forward


# ------------------------------------------------------------------------------------------------ prediction


def test_a_network_that_copies_gives_the_conditions_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the frame to the crop, into the rendered condition, and all the way back."""
    pipeline = conditional_of(DATA)
    batch = batch_of(pipeline)
    give_conditions(pipeline, batch, [0.9, 0.8, 0.7], [0.6])
    monkeypatch.setattr(pipeline, "forward", copying_network(pipeline))
    first, second = pipeline.predict_batch(batch)
    assert (len(first), len(second)) == (3, 1)
    assert (np.diff(first.scores) <= 0).all()
    for prediction, index in ((first, 0), (second, 1)):
        gt = DATA.frames[index].keypoints_in_image
        for animal, pose in enumerate(prediction.keypoints_in_image):
            apart = np.linalg.norm(gt - pose, axis=-1)  # (N, K)
            nearest = np.nanmean(apart, axis=1).argmin()
            assert np.nanmax(apart[nearest]) < 1.0
            assert np.isfinite(prediction.boxes_in_image[animal]).all()
    np.testing.assert_array_equal(pipeline.predict_conditions(batch)[0].scores, np.float32([0.9, 0.8, 0.7]))


def test_the_crop_lies_around_the_condition_wherever_the_animal_is() -> None:
    pipeline = conditional_of(DATA)
    batch = batch_of(pipeline, (0,))
    moved = labeled(batch, 0)[:1] + torch.tensor([20.0, -10.0])
    indices, boxes = pipeline._usable(poses(moved, [1.0]), batch)
    crops = pipeline._crops_around(batch, [boxes], moved[indices])
    known = moved[0][~moved[0].isnan().any(dim=-1)]
    middle = (known.amin(dim=0) + known.amax(dim=0)) / 2
    shown = apply_affine(crops.crop_to_frame, torch.tensor([[[47.5, 31.5]]]))[0, 0]
    inside = (boxes[0, :2] > 0).all() and boxes[0, 2] < 127 and boxes[0, 3] < 95
    if inside:  # a box that reaches out of the frame is clipped
        torch.testing.assert_close(shown, middle, atol=0.01, rtol=0)
    back = apply_affine(crops.crop_to_frame, crops.conditions_in_crop)
    torch.testing.assert_close(back, moved, atol=1e-3, rtol=0, equal_nan=True)


def test_an_image_without_conditions_has_no_animals(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = conditional_of(DATA)
    batch = batch_of(pipeline)
    monkeypatch.setattr(pipeline, "forward", copying_network(pipeline))
    give_conditions(pipeline, batch, [], [0.9, 0.8])
    first, second = pipeline.predict_batch(batch)
    assert (len(first), len(second)) == (0, 2)
    assert first.keypoints_in_image.shape == (0, len(DATA.skeleton), 2)
    give_conditions(pipeline, batch, [], [])
    assert [len(each) for each in pipeline.predict_batch(batch)] == [0, 0]


def test_boxes_are_refused_where_poses_are_needed() -> None:
    pipeline = conditional_of(DATA)
    boxes = [Boxes(torch.tensor([[0.0, 0.0, 50.0, 50.0]]), torch.ones(1))]
    with pytest.raises(ValueError, match="predicts around poses, expected no boxes"):
        pipeline.compute_maps(batch_of(pipeline, (0,)), boxes)


def test_unusable_conditions_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the threshold, without a keypoint, or outside the frame."""
    pipeline = conditional_of(DATA, crops={"threshold": 0.5})
    batch = batch_of(pipeline, (0,))
    monkeypatch.setattr(pipeline, "forward", copying_network(pipeline))
    gt = labeled(batch, 0)
    unusable = torch.stack([gt[0], gt[1], torch.full_like(gt[0], math.nan), gt[2] + 1000])
    pipeline.detector = FixedPoses([poses(unusable, [0.9, 0.4, 0.9, 0.9])], pipeline.detector)
    (prediction,) = pipeline.predict_batch(batch)
    assert len(prediction) == 1


def test_two_conditions_of_one_animal_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = conditional_of(DATA)
    batch = batch_of(pipeline, (0,))
    monkeypatch.setattr(pipeline, "forward", copying_network(pipeline))
    gt = labeled(batch, 0)
    pipeline.detector = FixedPoses(
        [poses(torch.stack([gt[0], gt[0] + 0.5, gt[1]]), [0.8, 0.9, 0.7])], pipeline.detector
    )
    (prediction,), (places,) = pipeline.predict_with_conditions(batch, pipeline.detector.detect_poses(batch))
    assert len(prediction) == 2
    assert places.tolist() == [1, 2]


def test_frames_are_independent_of_their_batch() -> None:
    pipeline = conditional_of(DATA).eval()
    with torch.inference_mode():
        together = pipeline.predict_batch(batch_of(pipeline))
        for index, expected in enumerate(together):
            (alone,) = pipeline.predict_batch(batch_of(pipeline, (index,)))
            np.testing.assert_allclose(alone.scores, expected.scores, atol=1e-4)
            np.testing.assert_allclose(alone.boxes_in_image, expected.boxes_in_image, atol=0.05)


# ------------------------------------------------------------------------------------------------ training


def unperturbed(**changes: Any) -> dict[str, Any]:
    """Conditions without errors."""
    exact = dict.fromkeys(("jitter", "miss", "inversion", "swap", "absent", "background", "moved"), 0.0)
    return {"condition": {**option("condition", "generated"), **exact, **changes}}


def rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_the_target_of_a_crop_is_the_animal_of_its_condition() -> None:
    pipeline = conditional_of(DATA, **unperturbed())
    batch = batch_of(pipeline)
    crops = pipeline.training_crops(batch, rngs(2))
    assert crops.frame_indices.tolist() == [0, 0, 0, 1, 1, 1]
    errors = (crops.conditions_in_crop - crops.batch.keypoints_in_crop[:, 0]).norm(dim=-1)  # (M, K)
    scale = crops.frame_to_crop[:, 0, 0]
    limit = 0.235 * batch.areas.view(-1)[:, None].sqrt() * scale[:, None]  # nearly at the OKS where a jitter ends
    assert (errors.nan_to_num(0.0) <= limit).all()
    assert crops.batch.keypoints_in_crop.shape[1] == 1  # other animals in the crop are no targets
    shown = pipeline.network_input(crops)
    assert shown.images.shape == (6, 3 + len(DATA.skeleton), 64, 96)
    inside = crops.conditions_in_crop[0].nan_to_num(-1).round().long()
    for keypoint, (x, y) in enumerate(inside.tolist()):
        if 0 <= x < 96 and 0 <= y < 64:
            assert shown.images[0, 3 + keypoint, y, x] > 0.9


def test_the_targets_of_a_background_condition_are_empty() -> None:
    pipeline = conditional_of(DATA, **unperturbed(background=0.99))
    batch = batch_of(pipeline)
    crops = pipeline.training_crops(batch, rngs(2))
    empty = crops.batch.keypoints_in_crop.isnan().all(dim=-1).all(dim=-1)[:, 0]
    assert 0 < int(empty.sum()) <= 6
    assert len(empty) == 6 + int(empty.sum())
    targets = pipeline.encode(crops.batch).animals.heatmaps
    assert not targets[empty].any()
    assert (targets[~empty].amax(dim=(1, 2, 3)) > 0.5).all()
    assert (crops.batch.visibility[empty] == 0).all()
    assert crops.batch.areas[empty].isnan().all()


def test_random_numbers_come_from_the_place_in_the_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = conditional_of(DATA)
    batch, seen = batch_of(pipeline), []
    monkeypatch.setattr(pipeline, "_step", lambda crops, split: (seen.append(crops.images), None))
    for seed, index in ((1, 0), (2, 0), (3, 1)):
        torch.manual_seed(seed)
        pipeline.training_step(batch, index)
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)
    assert seen[0].shape != seen[2].shape or not torch.equal(seen[0], seen[2])


def test_validation_conditions_are_the_same_in_every_epoch_and_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = conditional_of(DATA).eval()
    seen: list[Tensor] = []

    def note(crops: PoseBatch, split: str) -> tuple[None, PoseMaps]:
        seen.append(crops.images[:, 3:])
        return None, pipeline(crops.images)

    monkeypatch.setattr(pipeline, "_step", note)
    with torch.no_grad():
        pipeline.validation_step(batch_of(pipeline), 0)
        pipeline.validation_step(batch_of(pipeline, (1,)), 7)
    assert torch.equal(seen[0][-len(seen[1]) :], seen[1])
    assert [each.key for each in pipeline.epoch_record.val_predictions] == [
        DATA.frames[index].key for index in (0, 1, 1)
    ]


@pytest.mark.parametrize("missing", ["some", "all"])
def test_missing_labels_do_not_poison_gradients(missing: str) -> None:
    pipeline = conditional_of(DATA).train()
    batch = batch_of(pipeline)
    batch.keypoints_in_crop[:, :, :: 2 if missing == "some" else 1] = math.nan
    loss = pipeline.training_step(batch, 0)
    loss.backward()
    gradients = [weight.grad for weight in pipeline.parameters() if weight.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    if missing == "all":
        assert float(loss) == 0
        pipeline.validation_step(batch, 0)
        assert [len(each) for each in pipeline.epoch_record.val_predictions] == [0, 0]


def test_the_model_behind_the_conditions_is_not_trained(tmp_path: Path) -> None:
    bottom_up, described = small_bottom_up()
    detector = {**pose_boxes_of(described), "checkpoint": None}
    pipeline, module = run_of(conditional_config(detector, condition=option("condition", "predicted")), DATA)
    pipeline.detector.bottom_up.load_state_dict(bottom_up.state_dict())
    trainer = trainer_of(tmp_path)
    trainer.fit(pipeline, datamodule=module)
    after = pipeline.detector.bottom_up.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in bottom_up.state_dict().items())
    held = {id(weight) for group in trainer.optimizers[0].param_groups for weight in group["params"]}
    assert not any(id(weight) in held for weight in pipeline.detector.parameters())
    assert {id(weight) for weight in pipeline.fusion.parameters()} <= held
    assert not pipeline.train().detector.bottom_up.training


def small_bottom_up() -> tuple[Any, dict[str, Any]]:
    """A model of several animals, and its description as a checkpoint has it."""
    head = {
        **option("head", "part_affinity"),
        "deconvolutions": 0,
        "heatmap_loss": option("loss", "binary_cross_entropy"),
    }
    config = tiny_config(head={key: value for key, value in head.items() if key != "defaults"})
    model = pipeline_of(config, DATA, to_train=False).eval()
    described = {
        "config": {name: config[name] for name in ("backbone", "neck", "head", "pipeline")},
        "skeleton": DATA.skeleton.as_dict(),
        "input": model.model_input.as_dict(),
        "individuals": [],
        "max_animals": 3,
        "identified": False,
    }
    return model, described


def pose_boxes_of(described: dict[str, Any]) -> dict[str, Any]:
    return {**plain("detector", "pose_boxes"), "boxes": RULE, "bottom_up": described}


@pytest.mark.slow
def test_the_condition_decides_which_animal_is_predicted() -> None:
    """Overfit to two animals on top of each other: each is predicted from its own condition, in the same crop."""
    data = frames_of(1, animals=2, height=64, width=64, animal_length=0.5, seed=3)
    pipeline = conditional_of(
        data, crops={"shift": 0.0, "scale": 0.0}, input={**INPUT, "width": 64}, **unperturbed()
    ).train()
    batch = batch_of(pipeline, (0,), data)
    gt = labeled(batch, 0)
    # The second is moved onto the first, so that position alone does not tell them apart.
    gt = torch.stack([gt[0], gt[1] - gt[1].nanmean(dim=0) + gt[0].nanmean(dim=0)])
    batch = replace(batch, keypoints_in_crop=gt[None])
    optimizer = torch.optim.AdamW(pipeline.parameters(), lr=3e-3)
    for step in range(100):
        optimizer.zero_grad()
        pipeline.training_step(batch, step).backward()
        optimizer.step()
    pipeline.eval().settings = replace(pipeline.settings, nms_oks=1.1)
    with torch.inference_mode():
        (prediction,), (places,) = pipeline.predict_with_conditions(batch, [poses(gt, [1.0, 1.0])])
    for pose, place in zip(prediction.keypoints_in_image, places.tolist(), strict=True):
        apart = np.nanmedian(np.linalg.norm(gt.numpy() - pose, axis=-1), axis=1)  # (2,)
        assert apart[place] < 3
        assert apart[1 - place] > 2 * apart[place]
