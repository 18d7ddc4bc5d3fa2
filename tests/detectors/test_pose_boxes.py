"""Detectors of poses: a model's, a file's, or labels with errors."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.detectors.box_rules import around_keypoints
from dlcpose.detectors.pose_boxes import (
    ModelPoseDetector,
    PerturbedPoseDetector,
    PoseDetector,
    StoredPoseDetector,
    fit_batch_to_canvas,
    points_in_frame,
    pose_detector,
)
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.errors import CheckpointError, ConfigError, DataError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.skeleton import Skeleton
from tests.heads.made_up_batches import batch_of
from tests.made_up_runs import frames_of, option, pipeline_of, tiny_config

SKELETON = Skeleton(("nose", "left_ear", "right_ear"), pairs=((1, 2),))
POSES = np.array([[[20.0, 30.0], [25.0, 35.0], [40.0, 50.0]], [[60.0, 20.0], [math.nan] * 2, [70.0, 30.0]]])
DATA = frames_of(3, animals=3, height=96, width=128)


def scene(*counts: int) -> PoseBatch:
    return batch_of([POSES[:count] for count in counts], (64, 96))


def as_triplets(poses: np.ndarray, score: float = 0.9) -> list[Any]:
    """x, y, score of each keypoint, null where it is not known."""
    return [
        [[None, None, 0.0] if np.isnan(point).any() else [*point.tolist(), score] for point in pose] for pose in poses
    ]


def stored(tmp_path: Path, content: Any) -> StoredPoseDetector:
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(content))
    return StoredPoseDetector(around_keypoints, SKELETON, str(path))


# ------------------------------------------------------------------------------------------------ from labels


def test_perturbed_poses_are_those_of_the_labeled_animals_and_always_the_same() -> None:
    detector = PerturbedPoseDetector(around_keypoints, SKELETON)
    batch = scene(2, 1, 0)
    found = detector.detect_poses(batch)
    assert [len(each) for each in found] == [2, 1, 0]
    assert detector.needs_labels
    for index, each in enumerate(found):
        (alone,) = detector.detect_poses(replace(scene((2, 1, 0)[index]), keys=(batch.keys[index],)))
        assert torch.equal(alone.keypoints_in_crop.nan_to_num(-1), each.keypoints_in_crop.nan_to_num(-1))
    assert found[0].keypoints_in_crop[1, 1].isnan().all()  # not labeled, not predicted
    assert not torch.equal(found[0].keypoints_in_crop[0], batch.keypoints_in_crop[0, 0])


def test_boxes_are_those_around_the_poses() -> None:
    detector = PerturbedPoseDetector(around_keypoints, SKELETON)
    for (boxes, scores), found in zip(detector.detect(scene(2, 0)), detector.detect_poses(scene(2, 0)), strict=True):
        assert boxes.shape == (len(found), 4)
        known = found.keypoints_in_crop.nan_to_num(50.0)
        assert (boxes[:, None, :2] <= known.maximum(boxes[:, None, :2])).all()
        assert torch.equal(scores, found.scores)


# ------------------------------------------------------------------------------------------------ from files


def test_poses_of_a_mapping_are_found_by_their_image(tmp_path: Path) -> None:
    detector = stored(tmp_path, {"frame_0": as_triplets(POSES), "frame_1": []})
    first, second = detector.detect_poses(scene(2, 0))
    assert (len(first), len(second)) == (2, 0)
    torch.testing.assert_close(
        first.keypoints_in_crop, torch.tensor(POSES, dtype=torch.float32), atol=1e-4, rtol=0, equal_nan=True
    )
    np.testing.assert_allclose(first.scores, [0.9, 0.6], atol=1e-6)  # of the second one keypoint was not found


def test_an_evaluation_s_predictions_are_read_as_they_lie(tmp_path: Path) -> None:
    from dlcpose.exporters.coco import coco_labels, coco_results, image_ids

    labels = coco_labels(DATA, [0, 1, 2])
    found = [
        PosePrediction(
            key=frame.key,
            keypoints_in_image=frame.keypoints_in_image[: index + 1],
            keypoint_scores=np.full((index + 1, len(DATA.skeleton)), 0.5, np.float32),
            scores=np.full(index + 1, 0.5, np.float32),
            identities=np.full(index + 1, -1),
            unique_in_image=np.zeros((0, 2), np.float32),
            unique_scores=np.zeros(0, np.float32),
            boxes_in_image=np.full((index + 1, 4), np.nan, np.float32),
        )
        for index, frame in enumerate(DATA.frames[:2])
    ]
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    (tmp_path / "predictions.json").write_text(json.dumps(coco_results(found, image_ids(labels))))
    detector = StoredPoseDetector(around_keypoints, DATA.skeleton, str(tmp_path / "predictions.json"))
    batch = collate([fit_to_canvas(DATA[index], Input(multiple_of=32)) for index in range(3)])
    poses = detector.detect_poses(batch)
    assert [len(each) for each in poses] == [1, 2, 0]  # a frame without animals is in labels.json alone
    for each, gt in zip(poses[:2], found, strict=False):
        np.testing.assert_allclose(each.keypoints_in_crop, gt.keypoints_in_image, atol=1e-3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_stored_poses_follow_the_frame_they_are_shown_in(tmp_path: Path, mirrored: bool) -> None:
    """A frame that training has moved, scaled and mirrored: left and right change names in a mirror."""
    detector = stored(tmp_path, {"frame_0": as_triplets(POSES[:1])})
    sign = -1.0 if mirrored else 1.0
    crop_to_image = torch.tensor([[[sign * 0.5, 0.1, 60.0], [-0.1, 0.5, 3.0]]], dtype=torch.float64)
    (found,) = detector.detect_poses(replace(scene(1), crop_to_image=crop_to_image))
    order = [0, 2, 1] if mirrored else [0, 1, 2]
    back = found.keypoints_in_crop[0].double() @ crop_to_image[0, :, :2].T + crop_to_image[0, :, 2]
    np.testing.assert_allclose(back, POSES[0, order], atol=1e-3)
    points = points_in_frame(POSES[:1].astype(np.float32), crop_to_image[0])
    np.testing.assert_allclose(points[0, order], found.keypoints_in_crop[0], atol=1e-3)


def test_folders_before_a_name_may_differ(tmp_path: Path) -> None:
    detector = stored(tmp_path, {"labeled-data/a/img1.png": as_triplets(POSES), "labeled-data/b/img1.png": []})
    assert len(detector.read().poses_of("/data/here/labeled-data/a/img1.png")) == 2
    assert len(detector.read().poses_of("b/img1.png")) == 0
    with pytest.raises(DataError, match=r"img1\.png.* 2 frames"):
        detector.read().poses_of("img1.png")


def test_a_frame_that_the_file_does_not_know_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"frame_1.*frame_0"):
        stored(tmp_path, {"frame_0": []}).detect_poses(scene(0, 0))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("3", "COCO results"),
        ("{", "json"),
        ('{"0": [[[1, 2, 1]]]}', r"0: .*nose, left_ear, right_ear.*\(1, 1, 3\)"),
        ('{"0": [[1, 2], "x"]}', "0: .*3 keypoints"),
        ("[]", "labels.json"),
    ],
)
def test_what_is_no_file_of_poses_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "predictions.json").write_text(content)
    with pytest.raises(DataError, match=said):
        StoredPoseDetector(around_keypoints, SKELETON, str(tmp_path / "predictions.json")).detect_poses(scene(1))


def test_results_of_other_keypoints_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"images": [], "categories": [{"keypoints": ["paw"]}]}))
    with pytest.raises(DataError, match=r"paw.* nose"):
        stored(tmp_path, []).detect_poses(scene(0))
    (tmp_path / "labels.json").write_text(json.dumps({"images": [{"id": 1, "file_name": "0"}]}))
    with pytest.raises(DataError, match=r"labels\.json.*KeyError"):
        stored(tmp_path, [{"image_id": 7, "keypoints": [1, 2, 2] * 3, "score": 1.0}]).detect_poses(scene(0))


def test_missing_file_is_reported_when_it_is_needed(tmp_path: Path) -> None:
    detector = StoredPoseDetector(around_keypoints, SKELETON, str(tmp_path / "gone.json"))  # a checkpoint that moved
    with pytest.raises(DataError, match=r"gone\.json"):
        detector.detect_poses(scene(1))


# ------------------------------------------------------------------------------------------------ from a model


def model(model_input: str = "letterbox") -> Any:
    built = pipeline_of(
        tiny_config(input=option("input", model_input)), frames_of(1, height=96, width=128), to_train=False
    )
    torch.nn.init.normal_(built.head.heatmap_layers[-1].weight, std=0.5)
    return built.eval()


def test_conditions_are_the_predictions_of_the_model_alone() -> None:
    bottom_up = model()
    detector = ModelPoseDetector(around_keypoints, bottom_up)
    batch = collate([fit_to_canvas(DATA[index], Input(multiple_of=32)) for index in range(2)])
    seen = collate([fit_to_canvas(DATA[index], bottom_up.frame_input) for index in range(2)])
    for found, expected in zip(detector.detect_poses(batch), bottom_up.predict_batch(seen), strict=True):
        np.testing.assert_allclose(found.keypoints_in_crop, expected.keypoints_in_image, atol=1e-3)
        np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize(
    "model_input",
    [Input(48, 64), Input(64, 64), Input(64, 64, keep_aspect=False), Input(192, 256), Input(multiple_of=64)],
)
def test_frames_reach_a_model_as_files_would(model_input: Input) -> None:
    batch = collate([fit_to_canvas(DATA[0], Input(multiple_of=32))])
    ours, theirs = fit_batch_to_canvas(model_input, batch), collate([fit_to_canvas(DATA[0], model_input)])
    assert ours.images.shape == theirs.images.shape
    assert ours.images.dtype == torch.uint8
    torch.testing.assert_close(ours.crop_to_image, theirs.crop_to_image)
    assert (ours.images.float() - theirs.images.float()).abs().mean() < 4  # of 255, from another way of averaging
    assert len(ours.keypoints_in_crop[0]) == 0  # labels are left out


def test_a_model_of_another_skeleton_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"detector\.checkpoint: .*nose, left_ear"):
        pose_detector(around_keypoints, SKELETON, model(), checkpoint=None)


def test_one_source_is_needed_and_no_more() -> None:
    with pytest.raises(ConfigError, match=r"detector: .*neither"):
        pose_detector(around_keypoints, SKELETON)
    with pytest.raises(ConfigError, match=r"detector: .*both"):
        pose_detector(around_keypoints, SKELETON, model(), predictions="x.json")


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"head.weight": torch.zeros(2)}}, tmp_path / "other.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    for name in ("other.ckpt", "text.ckpt", "gone.ckpt"):
        with pytest.raises(CheckpointError, match=rf"detector\.checkpoint: .*{name}"):
            ModelPoseDetector(around_keypoints, model(), str(tmp_path / name))


@pytest.mark.parametrize("kind", [PerturbedPoseDetector, ModelPoseDetector, StoredPoseDetector])
def test_none_of_them_is_trainable(kind: type[PoseDetector]) -> None:
    assert not kind.is_trainable
    assert kind.needs_labels == (kind is PerturbedPoseDetector)
