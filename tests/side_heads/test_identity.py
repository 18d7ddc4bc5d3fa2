"""Identities: targets around keypoints, and the most likely one-to-one assignment."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dlcpose.config.compose import compose
from dlcpose.instantiate import Instantiator
from dlcpose.side_heads.identity import IdentityHead, IdentityMaps, identity_head
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PoseInstances
from tests.heads.made_up_batches import batch_of

SIZE, STRIDE, CHANNELS = (64, 96), 4, 8
NAMES = ("anna", "bert", "cora")
BODY = np.array([[0.0, -6.0], [-5.0, 3.0], [5.0, 4.0]])


def head(individuals: int = 3) -> IdentityHead:
    torch.manual_seed(0)
    built = identity_head(CHANNELS, STRIDE, NAMES[:individuals])
    assert built is not None
    return built


def scene(identities: list[int], places: list[tuple[float, float]]) -> PoseBatch:
    """One image of animals at these places."""
    poses = np.array(places)[:, None] + BODY if places else np.zeros((0, 3, 2))
    return replace(batch_of([poses], SIZE), identities=torch.tensor([identities], dtype=torch.long))


def labeled_in(batch: PoseBatch) -> PoseInstances:
    points = batch.keypoints_in_crop[0]
    return PoseInstances.from_keypoints(points, torch.ones(points.shape[:2]))


APART = [(20.0, 20.0), (70.0, 20.0), (48.0, 48.0)]


@pytest.mark.parametrize("identities", list(itertools.permutations(range(3))))
def test_target_maps_give_the_labeled_identities(identities: tuple[int, ...]) -> None:
    batch = scene(list(identities), APART)
    (done,) = head().complete([labeled_in(batch)], head().encode(batch))
    assert done.identities.tolist() == list(identities)


def test_an_animal_without_identity_is_unsupervised() -> None:
    batch = scene([1, -1], APART[:2])
    targets = head().encode(batch).probabilities
    unidentified = batch.keypoints_in_crop[0, 1]
    for x, y in unidentified.div(STRIDE).long().tolist():
        assert targets[0, :, y, x].isnan().all()
    assert not targets[0, :, 14 // STRIDE, 20 // STRIDE].isnan().any()


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(2, 4))
def test_the_assignment_is_the_most_likely(seed: int, animals: int, individuals: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    built = IdentityHead(CHANNELS, STRIDE, individuals=individuals, radius=8.0, weight=1.0)
    probabilities = torch.rand(1, individuals, 16, 24, generator=generator).softmax(dim=1)
    cells = torch.stack(
        (torch.randint(24, (animals,), generator=generator), torch.randint(16, (animals,), generator=generator)), -1
    )
    points_in_crop = cells[:, None].float() * STRIDE + (STRIDE - 1) / 2
    (done,) = built.complete(
        [PoseInstances.from_keypoints(points_in_crop, torch.ones(animals, 1))], IdentityMaps(probabilities)
    )
    evidence = probabilities[0][:, cells[:, 1], cells[:, 0]].numpy()  # (I, M)

    def worth(given_to: tuple[int, ...]) -> float:
        return sum(evidence[who, animal] for animal, who in enumerate(given_to) if who >= 0)

    none = [-1] * max(0, animals - individuals)
    best = max(worth(choice) for choice in set(itertools.permutations([*range(individuals), *none], animals)))
    chosen = tuple(done.identities.tolist())
    assert worth(chosen) == pytest.approx(best, rel=1e-5)
    assert len([who for who in chosen if who >= 0]) == min(animals, individuals)
    assert len({who for who in chosen if who >= 0}) == min(animals, individuals)


def test_missing_keypoints_do_not_count() -> None:
    batch = scene([2, 0], APART[:2])
    animals = labeled_in(batch)
    animals.keypoints_in_crop[0, 1] = torch.nan
    (done,) = head().complete([animals], head().encode(batch))
    assert done.identities.tolist() == [2, 0]


@pytest.mark.parametrize("places", [[], APART[:1]])
def test_few_animals_are_fine(places: list[tuple[float, float]]) -> None:
    batch = scene(list(range(len(places))), places)
    built = head()
    maps = built(torch.randn(1, CHANNELS, 16, 24))
    losses = built.loss(maps, built.encode(batch))
    assert all(value.isfinite() for value in losses.values())
    (done,) = built.complete([labeled_in(batch)], maps)
    assert done.identities.shape == (len(places),)


def test_it_learns_identities() -> None:
    built, batch = head(), scene([0, 1, 2], APART)
    coats = built.encode(batch).probabilities.nan_to_num(0.0)  # each animal looks like itself, with some noise
    features: Tensor = torch.cat((coats, torch.zeros(1, CHANNELS - 3, 16, 24)), dim=1) + 0.3 * torch.randn(
        1, CHANNELS, 16, 24
    )
    optimizer = torch.optim.Adam(built.parameters(), lr=0.1)
    losses = []
    for _ in range(60):
        loss = built.loss(built(features), built.encode(batch))["identity"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]


def test_data_without_identities_have_no_identity_head() -> None:
    late: Any = Instantiator()(compose([])["side_head"]["identity"], "side_head.identity")
    assert late(in_channels=CHANNELS, stride=STRIDE, individuals=()) is None
    required: Any = Instantiator()(compose(["side_head=identity"])["side_head"]["identity"], "side_head.identity")
    with pytest.raises(ConfigError, match=r"side_head\.identity"):
        required(in_channels=CHANNELS, stride=STRIDE, individuals=())
    assert required(in_channels=CHANNELS, stride=STRIDE, individuals=NAMES).individuals == 3
