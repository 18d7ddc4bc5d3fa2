"""The laws that all heads obey, run on each option of conf/head."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlcpose.build import Trunk, build_pipeline
from dlcpose.config.compose import compose
from dlcpose.heads.base import Head
from dlcpose.heads.deeplabcut_heatmap import DeepLabCutHeatmapHead
from dlcpose.heads.deeplabcut_paf import DeepLabCutPafHead
from dlcpose.heads.deeplabcut_rtmcc import DeepLabCutRtmccHead
from dlcpose.heads.deeplabcut_tokenpose import DeepLabCutTokenPoseHead
from dlcpose.instantiate import Instantiator
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from tests.heads.made_up_batches import assert_found, batch_of, flipped, single
from tests.tiny_models import tiny

OPTIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "head").glob("*.yaml"))
SIZE = (64, 96)
CHANNELS, STRIDE = 32, 4
SKELETON = Skeleton(("nose", "left_ear", "right_ear", "tail"), edges=((0, 1), (0, 2), (0, 3), (1, 2)), pairs=((1, 2),))
BODY = np.array([[0.0, -9.0], [-6.0, -2.0], [6.0, -3.0], [1.0, 11.0]])  # (K, 2) px around the animal's place


class TinyTrunk(nn.Module):
    """One strided convolution in the place of a backbone."""

    channels, strides, size_divisor = (CHANNELS,), (STRIDE,), STRIDE

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, CHANNELS, STRIDE, stride=STRIDE)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.layer(images).relu()]


class FirstMap(nn.Module):
    out_channels, stride = CHANNELS, STRIDE

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[0]


# DeepLabCut's fields reach 20 px to either side of an edge: as far as the animals here are long.
FOR_SMALL_ANIMALS = {
    "deeplabcut_paf": ["head.field_width=4.0"],
    # It answers with the center of a cell.
    "deeplabcut_tokenpose": ["head.map_stride=1", "head.layers=1"],
}


@functools.cache
def config_of(option: str) -> dict[str, Any]:
    """With narrow layers, as no law is about their width; DeepLabCut's heads, which list theirs, as they are."""
    config = compose(["~model", "name=laws", f"head={option}", *FOR_SMALL_ANIMALS.get(option, ())])
    return config if option.startswith("deeplabcut") else tiny(config)


def head_of(option: str) -> Head:
    torch.manual_seed(0)
    pipeline = build_pipeline(
        config_of(option),
        Instantiator(),
        DataDescription(SKELETON, Input(*SIZE)),
        trunk=Trunk(TinyTrunk(), FirstMap()),
    )
    return pipeline.head.eval()


SLOW = ("dlcrnet_stride32", "tokenpose_large")  # other options show the same with fewer layers


@pytest.fixture(
    params=[pytest.param(option, marks=pytest.mark.slow) if option in SLOW else option for option in OPTIONS]
)
def head(request: pytest.FixtureRequest) -> Head:
    return head_of(request.param)


def scene(head: Head, seed: int, *, missing: bool = False) -> PoseBatch:
    """Two images of animals apart from each other, as many as the head can predict."""
    rng = np.random.default_rng(seed)
    places = np.array([[22.0, 32.0], [70.0, 30.0]])[: 2 if head.multi_animal else 1]
    poses = []
    for count in (len(places), 1):
        around = places[:count, None] + BODY + rng.uniform(-3, 3, (count, len(BODY), 2))
        if missing:
            around[0, 3] = np.nan
        poses.append(around)
    return batch_of(poses, SIZE)


def nothing_labeled() -> PoseBatch:
    return batch_of([np.full((1, len(SKELETON), 2), np.nan)] * 2, SIZE)


def features_of(count: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, CHANNELS, SIZE[0] // STRIDE, SIZE[1] // STRIDE)


def tensors_of(maps: Any) -> dict[str, Tensor]:
    return {name: value for name, value in maps._asdict().items() if isinstance(value, Tensor)}


def test_there_are_options() -> None:
    assert "heatmap" in OPTIONS


@pytest.mark.parametrize(("seed", "missing"), [(0, False), (1, True)])
def test_decoding_returns_the_encoded_poses(head: Head, seed: int, missing: bool) -> None:
    batch = scene(head, seed, missing=missing)
    for pred, gt in zip(head.decode(head.encode(batch)), batch.keypoints_in_crop, strict=True):
        assert_found(pred, gt, within=head.stride)
        assert ((pred.scores >= 0) & (pred.scores <= 1)).all()
        assert ((pred.keypoint_scores >= 0) & (pred.keypoint_scores <= 1)).all()
        assert pred.keypoint_scores.shape == pred.keypoints_in_crop.shape[:2]


def test_soft_keypoints_are_the_encoded_ones_and_gradients_flow_through_them(head: Head) -> None:
    if not head.decodes_softly:
        with pytest.raises(NotImplementedError, match=type(head).__name__):
            head.soft_keypoints(head.encode(scene(head, 0)))
        return
    batch = scene(head, 0)
    soft = head.soft_keypoints(head.encode(batch))
    assert (soft.keypoints_in_crop - batch.keypoints_in_crop[:, 0]).norm(dim=-1).max() <= head.stride
    assert ((soft.scores > 0.2) & (soft.scores <= 1)).all()
    features = features_of(2).requires_grad_()
    head.soft_keypoints(head(features)).keypoints_in_crop.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert features.grad.abs().sum() > 0


def test_a_graphs_outputs_give_the_animals_that_decoding_gives(head: Head) -> None:
    maps = head.encode(scene(head, 0))
    if isinstance(head, DeepLabCutPafHead):
        with pytest.raises(ConfigError, match=r"^head: DeepLabCutPafHead cannot be exported"):
            head.graph_outputs(maps)
        return
    outputs, step = head.graph_outputs(maps), head.graph_step()
    assert set(step.outputs) <= set(outputs)
    assert all(len(values) == 2 for values in outputs.values())
    for ours, theirs in zip(head.decode(maps), step([], outputs), strict=True):
        for name in ("keypoints_in_crop", "keypoint_scores", "scores"):
            torch.testing.assert_close(getattr(theirs, name), getattr(ours, name), equal_nan=True)


def test_padding_holds_no_answer_of_one_animal(head: Head) -> None:
    if head.multi_animal or isinstance(head, DeepLabCutHeatmapHead | DeepLabCutRtmccHead | DeepLabCutTokenPoseHead):
        pytest.skip("it answers where it is sure, or where DeepLabCut does")
    shown = ((37, 60), (40, 50))
    corner = np.tile([[[SIZE[1] - 5.0, SIZE[0] - 5.0]]], (1, len(SKELETON), 1))
    sure, right = head.encode(batch_of([corner] * 2, SIZE)), head.encode(batch_of([BODY[None] + [30, 18]] * 2, SIZE))
    maps = type(right)(*(_less_sure(ours, theirs) for ours, theirs in zip(right, sure, strict=True)))
    for pred, expected in zip(head.decode_shown(maps, shown), head.decode(right), strict=True):
        torch.testing.assert_close(pred.keypoints_in_crop, expected.keypoints_in_crop)
    for (height, width), pred in zip(shown, head.decode_shown(head(features_of(2)), shown), strict=True):
        x, y = pred.keypoints_in_crop.unbind(dim=-1)
        assert (x <= width - 0.5).all()
        assert (y <= height - 0.5).all()


def _less_sure(values: Tensor | None, others: Tensor | None) -> Tensor | None:
    """Others, and values at half their height; either where the other has none."""
    if values is None or others is None:
        return None
    both = torch.maximum(others, 0.5 * values)
    return torch.where(others.isnan(), values, torch.where(values.isnan(), others, both))


def test_predicted_and_target_maps_have_the_same_shapes(head: Head) -> None:
    pred, targets = head(features_of(2)), head.encode(scene(head, 0))
    assert type(pred) is type(targets)
    assert {name: value.shape for name, value in tensors_of(pred).items()} == {
        name: value.shape for name, value in tensors_of(targets).items()
    }


def test_the_stride_is_what_the_maps_have(head: Head) -> None:
    expected = (round(SIZE[0] / head.stride), round(SIZE[1] / head.stride))
    maps = [value for value in tensors_of(head(features_of(1))).values() if value.ndim >= 4]
    beyond = 3 if "deeplabcut" in type(head).__module__ else 0  # cells, where deconvolutions are not padded
    for size in (value.shape[-2:] for value in maps):
        assert all(0 <= side - of_image <= beyond for side, of_image in zip(size, expected, strict=True))


def test_targets_have_no_loss(head: Head) -> None:
    targets = head.encode(scene(head, 0))
    pred = type(targets)(*(value.nan_to_num(0.0) if isinstance(value, Tensor) else value for value in targets))
    for name, value in head.loss(pred, targets).items():
        assert value.shape == ()
        assert 0 <= float(value) < 1e-3, name


@pytest.mark.parametrize("what", ["some", "none"])
def test_losses_and_their_gradients_are_finite_where_labels_are_missing(head: Head, what: str) -> None:
    batch = scene(head, 0, missing=True) if what == "some" else nothing_labeled()
    head.train()
    losses = head.loss(head(features_of(2)), head.encode(batch))
    assert all(value.isfinite() for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    gradients = [weight.grad for weight in head.parameters() if weight.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    if what == "some":
        assert any(gradient.abs().max() > 0 for gradient in gradients)


def test_images_without_animals_are_fine(head: Head) -> None:
    empty = batch_of([np.zeros((0, len(SKELETON), 2))] * 2, SIZE)
    targets = head.encode(empty)
    assert all(value.isfinite() for value in head.loss(head(features_of(2)), targets).values())
    assert len(head.decode(targets)) == 2


def test_a_batch_gives_what_its_images_give_alone(head: Head) -> None:
    batch, features = scene(head, 2, missing=True), features_of(2)
    with torch.no_grad():
        together = head(features), head.encode(batch)
        for index in range(2):
            alone = head(features[index : index + 1]), head.encode(single(batch, index))
            for many, one in zip(together, alone, strict=True):
                for name, value in tensors_of(one).items():
                    torch.testing.assert_close(
                        tensors_of(many)[name][index : index + 1], value, atol=1e-4, rtol=1e-4, equal_nan=True
                    )
                pred, expected = head.decode(many)[index], head.decode(one)[0]
                torch.testing.assert_close(
                    pred.keypoints_in_crop, expected.keypoints_in_crop, atol=1e-2, rtol=0, equal_nan=True
                )


def test_the_flipped_image_gives_the_flipped_animals(head: Head) -> None:
    batch = scene(head, 3)
    mirrored = head.decode(head.encode(flipped(batch, SKELETON.flip_order)))
    for pred, plain in zip(mirrored, head.decode(head.encode(batch)), strict=True):
        back = plain.keypoints_in_crop[:, list(SKELETON.flip_order)] * torch.tensor([-1.0, 1.0])
        assert_found(pred, back + torch.tensor([SIZE[1] - 1.0, 0.0]), within=0.25)
