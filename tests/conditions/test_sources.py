"""Condition sources: each labeled animal has a condition, and each predicted pose is matched to an animal."""

import numpy as np
import pytest
import torch

from dlcpose.conditions.base import ConditionSource, PoseConditions, join_frames
from dlcpose.conditions.generated import GeneratedConditions
from dlcpose.conditions.predicted import PredictedConditions
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton
from tests.heads.made_up_batches import batch_of
from tests.pipelines.made_up_conditional import poses

SKELETON = Skeleton(("nose", "left_ear", "right_ear", "tail"), pairs=((1, 2),))
BODY = np.array([[0.0, -20.0], [-15.0, -5.0], [15.0, -5.0], [0.0, 30.0]])
PLACES = np.array([[60.0, 60.0], [150.0, 70.0], [90.0, 160.0]])
SIZE = (224, 224)


def scene() -> PoseBatch:
    unlabeled = np.full((1, 4, 2), np.nan)
    three = PLACES[:, None] + BODY
    return batch_of([three, np.concatenate([unlabeled, three[:1]]), np.zeros((0, 4, 2))], SIZE)


def rngs(count: int = 3) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def conditions_of(source: ConditionSource, predicted: list[PoseInstances] | None = None) -> PoseConditions:
    def detect_poses(batch: PoseBatch) -> list[PoseInstances]:
        assert predicted is not None, "a source that needs no poses has called the detector"
        return predicted

    return source.conditions(scene(), detect_poses, rngs())


def test_each_labeled_animal_has_one_condition() -> None:
    conditions = conditions_of(GeneratedConditions(SKELETON, background=0.0))
    assert conditions.frame_indices.tolist() == [0, 0, 0, 1]
    assert conditions.animal_indices.tolist() == [0, 1, 2, 1]
    assert conditions.keypoints_in_frame.shape == (4, 4, 2)
    assert conditions.keypoints_in_frame.dtype == torch.float32


def test_conditions_that_moved_are_still_those_of_their_animals() -> None:
    still, moved = (conditions_of(GeneratedConditions(SKELETON, background=0.0, moved=share)) for share in (0.0, 1.0))
    assert moved.animal_indices.tolist() == still.animal_indices.tolist()
    assert (moved.keypoints_in_frame - still.keypoints_in_frame).abs().nan_to_num().amax(dim=(1, 2)).min() > 0.01
    with pytest.raises(ValueError, match="moved"):
        GeneratedConditions(SKELETON, moved=1.5)


def test_background_conditions_are_additional() -> None:
    conditions = conditions_of(GeneratedConditions(SKELETON, background=0.99))
    known = conditions.animal_indices[conditions.animal_indices >= 0]
    assert known.tolist() == [0, 1, 2, 1]
    assert (conditions.animal_indices < 0).any()
    assert (conditions.frame_indices.diff() >= 0).all()


def test_predicted_poses_are_matched_to_the_animals_they_lie_on() -> None:
    three = torch.tensor(PLACES[:, None] + BODY, dtype=torch.float32)
    predicted = [
        poses(
            torch.stack([three[2] + 2, three[0] - 2, three[0] + 60.0]), [0.9, 0.8, 0.7]
        ),  # the second animal is missing
        poses(three[:0], []),
        poses(three[:1], [0.5]),  # where no animal is
    ]
    conditions = conditions_of(PredictedConditions(SKELETON), predicted)
    assert conditions.frame_indices.tolist() == [0, 0, 0, 0, 1, 2]
    assert conditions.animal_indices.tolist() == [2, 0, -1, 1, 1, -1]
    torch.testing.assert_close(conditions.keypoints_in_frame[:3], predicted[0].keypoints_in_crop)
    alone = conditions_of(PredictedConditions(SKELETON, generate_missing=False), predicted)
    assert alone.animal_indices.tolist() == [2, 0, -1, -1]


def test_of_two_poses_on_an_animal_the_better_is_matched() -> None:
    first = torch.tensor(PLACES[:1, None] + BODY, dtype=torch.float32)
    predicted = [poses(torch.cat([first + 6, first + 1]), [0.9, 0.8]), poses(first[:0], []), poses(first[:0], [])]
    assert conditions_of(PredictedConditions(SKELETON, generate_missing=False), predicted).animal_indices.tolist() == [
        -1,
        0,
    ]


def test_a_min_oks_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="min_oks"):
        PredictedConditions(SKELETON, min_oks=0.0)


def test_frames_without_conditions_give_none() -> None:
    nothing = np.zeros((0, 4, 2)), np.zeros(0, np.int64)
    conditions = join_frames([nothing] * 3, scene())
    assert conditions.keypoints_in_frame.shape == (0, 4, 2)
    assert conditions.frame_indices.shape == conditions.animal_indices.shape == (0,)
