"""Animals of one image: what is not given is filled in, and every field is indexed and concatenated with the others."""

from typing import Any

import numpy as np
import pytest
import torch

from dlcpose.structures.instances import PoseInstances, PosePrediction


def instances_of(scores: list[float], keypoints: int = 3) -> PoseInstances:
    count = len(scores)
    return PoseInstances(
        keypoints_in_crop=torch.rand(count, keypoints, 2),
        keypoint_scores=torch.rand(count, keypoints),
        scores=torch.tensor(scores),
        identities=torch.arange(count),
        unique_in_crop=torch.ones(2, 2),
        unique_scores=torch.ones(2),
    )


def prediction_of(scores: list[float], keypoints: int = 3) -> PosePrediction:
    count, rng = len(scores), np.random.default_rng(0)
    return PosePrediction(
        key="frame",
        keypoints_in_image=rng.random((count, keypoints, 2), np.float32),
        keypoint_scores=rng.random((count, keypoints), np.float32),
        scores=np.array(scores, np.float32),
        identities=np.arange(count),
        unique_in_image=np.ones((2, 2), np.float32),
        unique_scores=np.ones(2, np.float32),
        boxes_in_image=rng.random((count, 4), np.float32),
    )


MADE = [instances_of, prediction_of]


def same(first: Any, second: Any) -> None:
    for name in first.PER_ANIMAL:
        np.testing.assert_array_equal(np.asarray(getattr(first, name)), np.asarray(getattr(second, name)))


def test_what_a_head_does_not_predict_is_filled_in() -> None:
    instances = PoseInstances.from_keypoints(torch.zeros(2, 3, 2), torch.tensor([[0.2, 0.4, 0.6], [1.0, 1.0, 1.0]]))
    assert len(instances) == 2
    torch.testing.assert_close(instances.scores, torch.tensor([0.4, 1.0]))
    assert instances.identities.tolist() == [-1, -1]
    assert instances.unique_in_crop.shape == (0, 2)
    assert instances.unique_scores.shape == (0,)


def test_what_a_head_predicts_is_kept() -> None:
    given = {
        "scores": torch.tensor([0.1]),
        "identities": torch.tensor([3]),
        "unique_in_crop": torch.ones(2, 2),
        "unique_scores": torch.ones(2),
    }
    instances = PoseInstances.from_keypoints(torch.zeros(1, 3, 2), torch.ones(1, 3), given.pop("scores"), **given)
    assert instances.scores.tolist() == [torch.tensor(0.1).item()]
    assert instances.identities.tolist() == [3]
    assert instances.unique_scores.tolist() == [1, 1]


def test_no_animal_is_a_prediction() -> None:
    instances = PoseInstances.from_keypoints(torch.zeros(0, 3, 2), torch.zeros(0, 3))
    assert len(instances) == 0
    assert instances.scores.shape == (0,)


@pytest.mark.parametrize("made", MADE)
def test_the_parts_concatenated_are_the_whole(made: Any) -> None:
    whole = made([0.1, 0.2, 0.3])
    same(type(whole).concatenate([whole[:1], whole[1:1], whole[1:]]), whole)
    with pytest.raises(ValueError, match="none"):
        type(whole).concatenate([])


@pytest.mark.parametrize("made", MADE)
def test_indices_and_masks_choose_the_same_animals(made: Any) -> None:
    whole = made([0.1, 0.2, 0.3])
    chosen = whole[np.array([0, 2])]
    same(chosen, whole[np.array([True, False, True])])
    assert len(chosen) == 2
    assert len(chosen.unique_scores) == 2  # they are of the image, not of an animal
    same(whole[np.array([2, 1, 0])][np.array([2, 1, 0])], whole)
    with pytest.raises(TypeError):
        iter(whole)


def test_sorting_leaves_out_animals_without_a_keypoint() -> None:
    instances = instances_of([0.1, 0.9, 0.5, 0.9])
    instances.keypoints_in_crop[2] = torch.nan
    instances.keypoints_in_crop[1, :2] = torch.nan
    assert instances.has_keypoints.tolist() == [True, True, False, True]
    assert instances.sort_by_score().identities.tolist() == [1, 3, 0]


def test_animals_without_keypoints_keep_their_scores() -> None:
    instances = PoseInstances.without_keypoints(torch.tensor([0.2, 0.7]), 3)
    assert instances.keypoints_in_crop.shape == (2, 3, 2)
    assert not instances.has_keypoints.any()
    assert instances.scores.tolist() == pytest.approx([0.2, 0.7])
