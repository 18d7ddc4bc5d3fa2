"""Stacking crops loses nothing of any of them."""

from dataclasses import fields, replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.sample import PoseCrop

KEYPOINTS, UNIQUE = 3, 2


def crop_of(seed: int, animals: int, height: int, width: int) -> PoseCrop:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 40, (animals, KEYPOINTS, 2)).astype(np.float32)
    points[rng.random((animals, KEYPOINTS)) < 0.2] = np.nan
    return PoseCrop(
        key=f"frame {seed}",
        image=rng.integers(1, 256, (height, width, 3), dtype=np.uint8),
        keypoints_in_crop=points,
        visibility=np.where(np.isnan(points).any(axis=-1), 0, 2).astype(np.int64),
        boxes_in_crop=rng.uniform(0, 40, (animals, 4)).astype(np.float32),
        areas=rng.uniform(1, 99, animals).astype(np.float32),
        identities=np.arange(animals),
        unique_in_crop=rng.uniform(0, 40, (UNIQUE, 2)).astype(np.float32),
        crop_to_image=rng.uniform(-2, 2, (2, 3)),
    )


def tensors(batch: PoseBatch) -> dict[str, torch.Tensor]:
    return {
        field.name: getattr(batch, field.name)
        for field in fields(batch)
        if field.name not in ("keys", "sizes", "shown")
    }


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=5))
def test_a_batch_of_many_holds_its_images_one_by_one(kinds: list[tuple[int, int, int]]) -> None:
    crops = [crop_of(seed, *kind) for seed, kind in enumerate(kinds)]
    batch = collate(crops)
    assert len(batch) == len(crops)
    assert batch.keys == tuple(crop.key for crop in crops)
    most = max(animals for animals, _, _ in kinds)
    assert tuple(batch.images.shape) == (len(crops), 3, max(h for _, h, _ in kinds), max(w for _, _, w in kinds))
    for index, (crop, (animals, height, width)) in enumerate(zip(crops, kinds, strict=True)):
        alone = collate([crop])
        np.testing.assert_array_equal(batch.images[index, :, :height, :width].permute(1, 2, 0), crop.image)
        assert not batch.images[index, :, height:].any()
        assert not batch.images[index, :, :, width:].any()
        for name in ("keypoints_in_crop", "visibility", "boxes_in_crop", "areas", "identities"):
            many, one = getattr(batch, name)[index], getattr(alone, name)[0]
            assert len(many) == most
            torch.testing.assert_close(many[:animals], one, equal_nan=True, rtol=0, atol=0)
        torch.testing.assert_close(batch.unique_in_crop[index], alone.unique_in_crop[0])
        torch.testing.assert_close(batch.crop_to_image[index], alone.crop_to_image[0])
        for name in ("keypoints_in_crop", "boxes_in_crop", "areas"):
            assert getattr(batch, name)[index, animals:].isnan().all()
        assert (batch.visibility[index, animals:] == 0).all()
        assert (batch.identities[index, animals:] == -1).all()


def test_types_are_those_the_batch_promises() -> None:
    batch = collate([crop_of(0, 2, 4, 4), crop_of(1, 0, 4, 4)])
    kinds = {name: tensor.dtype for name, tensor in tensors(batch).items()}
    assert kinds == {
        "images": torch.uint8,
        "keypoints_in_crop": torch.float32,
        "visibility": torch.int64,
        "boxes_in_crop": torch.float32,
        "areas": torch.float32,
        "identities": torch.int64,
        "unique_in_crop": torch.float32,
        "crop_to_image": torch.float64,
    }


def test_images_without_animals_make_a_batch() -> None:
    batch = collate([crop_of(0, 0, 4, 4), crop_of(1, 0, 4, 4)])
    assert tuple(batch.keypoints_in_crop.shape) == (2, 0, KEYPOINTS, 2)


def test_moving_to_a_device_moves_every_tensor_and_leaves_the_original() -> None:
    batch = collate([crop_of(0, 2, 4, 4)])
    moved = batch.to("meta")
    assert {tensor.device.type for tensor in tensors(moved).values()} == {"meta"}
    assert {tensor.device.type for tensor in tensors(batch).values()} == {"cpu"}
    assert moved.keys == batch.keys


def test_padding_is_known_and_travels_along() -> None:
    padded = collate([crop_of(0, 1, 4, 6), crop_of(1, 1, 8, 3)])
    assert padded.images.shape[-2:] == (8, 6)
    assert padded.own_sizes == padded.to("meta").own_sizes == ((4, 6), (8, 3))
    without = replace(padded, sizes=())
    assert without.own_sizes == ((8, 6), (8, 6))
