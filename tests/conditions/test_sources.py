"""Where conditions to learn from come from: each labelled animal has one, and each found pose says whose it is."""

import numpy as np
import pytest
import torch

from dlcpose.conditions.base import ConditionSource, PoseConditions, gather_cells
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
    unlabelled = np.full((1, 4, 2), np.nan)
    three = PLACES[:, None] + BODY
    return batch_of([three, np.concatenate([unlabelled, three[:1]]), np.zeros((0, 4, 2))], SIZE)


def rngs(count: int = 3) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def drawn(source: ConditionSource, found: list[PoseInstances] | None = None) -> PoseConditions:
    def find(batch: PoseBatch) -> list[PoseInstances]:
        assert found is not None, "a source that needs no poses has asked for them"
        return found

    return source.conditions(scene(), find, rngs())


def test_each_labelled_animal_is_asked_for_once() -> None:
    conditions = drawn(GeneratedConditions(SKELETON, background=0.0))
    assert conditions.frame_indices.tolist() == [0, 0, 0, 1]
    assert conditions.animals.tolist() == [0, 1, 2, 1]
    assert conditions.keypoints_in_frame.shape == (4, 4, 2)
    assert conditions.keypoints_in_frame.dtype == torch.float32


def test_of_nobody_are_additional_ones() -> None:
    conditions = drawn(GeneratedConditions(SKELETON, background=0.99))
    known = conditions.animals[conditions.animals >= 0]
    assert known.tolist() == [0, 1, 2, 1]
    assert (conditions.animals < 0).any()
    assert (conditions.frame_indices.diff() >= 0).all()


def test_found_poses_are_asked_for_whom_they_tell_of() -> None:
    three = torch.tensor(PLACES[:, None] + BODY, dtype=torch.float32)
    found = [
        poses(torch.stack([three[2] + 2, three[0] - 2, three[0] + 60.0]), [0.9, 0.8, 0.7]),  # the second is missed
        poses(three[:0], []),
        poses(three[:1], [0.5]),  # where nobody is
    ]
    conditions = drawn(PredictedConditions(SKELETON), found)
    assert conditions.frame_indices.tolist() == [0, 0, 0, 0, 1, 2]
    assert conditions.animals.tolist() == [2, 0, -1, 1, 1, -1]
    torch.testing.assert_close(conditions.keypoints_in_frame[:3], found[0].keypoints_in_crop)
    alone = drawn(PredictedConditions(SKELETON, completed=False), found)
    assert alone.animals.tolist() == [2, 0, -1, -1]


def test_of_two_poses_of_an_animal_the_better_is_its_own() -> None:
    first = torch.tensor(PLACES[:1, None] + BODY, dtype=torch.float32)
    found = [poses(torch.cat([first + 6, first + 1]), [0.9, 0.8]), poses(first[:0], []), poses(first[:0], [])]
    assert drawn(PredictedConditions(SKELETON, completed=False), found).animals.tolist() == [-1, 0]


def test_what_is_like_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="min_similarity between 0 and 1"):
        PredictedConditions(SKELETON, min_similarity=0.0)


def test_frames_without_conditions_leave_nothing() -> None:
    nothing = np.zeros((0, 4, 2)), np.zeros(0, np.int64)
    conditions = gather_cells([nothing] * 3, scene())
    assert conditions.keypoints_in_frame.shape == (0, 4, 2)
    assert conditions.frame_indices.shape == conditions.animals.shape == (0,)
