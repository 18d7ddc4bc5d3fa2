"""Unique keypoints are predicted beside the animals."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dlcpose.config.compose import compose
from dlcpose.instantiate import Instantiator
from dlcpose.side_heads.unique import UniqueHead, unique_head
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton
from tests.heads.made_up_batches import batch_of

SIZE, STRIDE, CHANNELS = (64, 96), 8, 16
SKELETON = Skeleton(("nose", "tail"), unique=("door", "left_corner", "right_corner"), unique_pairs=((1, 2),))


def built(skeleton: Skeleton = SKELETON, **settings: Any) -> UniqueHead | None:
    late = Instantiator()(compose(["side_head=unique"])["side_head"]["unique"], "side_head.unique")
    return late(in_channels=CHANNELS, stride=STRIDE, skeleton=skeleton, **settings)


def scene(unique: Tensor) -> PoseBatch:
    """Two images of one animal each, with these points of the arena (2, U, 2)."""
    animals = [torch.tensor([[[20.0, 30.0], [40.0, 31.0]]]).numpy()] * 2
    return replace(batch_of(animals, SIZE), unique_in_crop=unique)


def test_unique_keypoints_are_added_to_the_animals() -> None:
    head = built()
    assert head is not None
    unique = torch.tensor(
        [[[3.2, 4.1], [90.7, 8.0], [50.0, 60.3]], [[70.0, 33.3], [torch.nan, torch.nan], [10.5, 10.5]]]
    )
    animals = [PoseInstances.from_keypoints(torch.rand(3, 2, 2), torch.rand(3, 2)) for _ in range(2)]
    completed = head.complete(animals, head.encode(scene(unique)))
    for done, before, arena in zip(completed, animals, unique, strict=True):
        assert torch.equal(done.keypoints_in_crop, before.keypoints_in_crop)
        labeled = ~arena.isnan().any(dim=-1)
        torch.testing.assert_close(done.unique_in_crop[labeled], arena[labeled], atol=0.1, rtol=0)
        assert (done.unique_scores[labeled] > 0.8).all()
        assert (done.unique_scores[~labeled] < 0.1).all()


def test_its_targets_are_the_unique_keypoints_alone() -> None:
    head = built()
    assert head is not None
    unique = torch.tensor([[[3.0, 4.0], [90.0, 8.0], [50.0, 60.0]]]).expand(2, -1, -1)
    targets = head.encode(scene(unique))
    moved = replace(scene(unique), keypoints_in_crop=scene(unique).keypoints_in_crop + 9)
    assert torch.equal(targets.heatmaps, head.encode(moved).heatmaps)
    assert all(
        float(value) < 1e-3
        for value in head.loss(targets._replace(offsets=targets.offsets.nan_to_num()), targets).values()
    )
    found = head(torch.randn(2, CHANNELS, SIZE[0] // STRIDE, SIZE[1] // STRIDE))
    losses = head.loss(found, targets)
    torch.stack(list(losses.values())).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in head.parameters())


def test_without_such_points_there_is_no_head() -> None:
    assert built(Skeleton(("nose", "tail"))) is None


def test_a_head_for_several_animals_is_refused() -> None:
    late = Instantiator()(compose(["head=dekr"])["head"], "head")
    with pytest.raises(ConfigError, match="DekrHead"):
        unique_head(CHANNELS, STRIDE, SKELETON, head=late)
