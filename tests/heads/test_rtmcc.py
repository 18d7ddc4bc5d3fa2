"""RTMPose: published sizes, one input size, targets, decoding, and that it learns."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.build import build_pipeline, build_trunk
from dlcpose.config.compose import compose
from dlcpose.config.models import describe
from dlcpose.heads.rtmcc import RtmccHead
from dlcpose.instantiate import Instantiator
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from tests.heads.made_up_batches import assert_found, batch_of, flipped
from tests.made_up_runs import frames_of, option, run_of, tiny_config

CANVAS = (64, 96)
# Parameters and multiply-accumulates in 10⁹ at (height, width): RTMPose's and DeepLabCut's models instantiated.
COUNTED = [
    ("rtmpose_s", (256, 192), 5_473_251, 0.676),
    ("rtmpose_m", (256, 192), 13_587_611, 1.918),
    ("rtmpose_x", (384, 288), 49_434_283, 17.160),
    ("rtmpose_s", (256, 256), 5_510_115, 0.899),
    ("rtmpose_m", (256, 256), 13_624_475, 2.553),
    ("rtmpose_x", (384, 384), 49_492_651, 22.876),
]
# Millions of parameters of DeepLabCut's single animal models with five keypoints, one deconvolution each.
SINGLE_ANIMAL = {"cspnext_s": 4.45, "cspnext_m": 12.38, "cspnext_x": 47.74}


def skeleton_of(keypoints: int) -> Skeleton:
    return Skeleton(tuple(f"keypoint_{number}" for number in range(keypoints)))


def head_of(keypoints: int = 4, canvas: tuple[int, int] | None = CANVAS, **settings: Any) -> RtmccHead:
    torch.manual_seed(0)
    return RtmccHead(16, 32, skeleton_of(keypoints), canvas, **settings).eval()


def built(model_input: Input, *overrides: str) -> Any:
    config, parts = compose(overrides), Instantiator()
    with torch.device("meta"):
        trunk = build_trunk(config, parts)
        return build_pipeline(config, parts, DataDescription(skeleton_of(5), model_input), trunk=trunk)


@pytest.mark.parametrize(("name", "size", "parameters", "gmacs"), COUNTED)
def test_sizes_are_the_published_ones(name: str, size: tuple[int, int], parameters: int, gmacs: float) -> None:
    row = describe(name, keypoints=17, size=size)
    assert row.parameters == parameters
    assert row.gmacs == pytest.approx(gmacs, rel=0.005)


@pytest.mark.parametrize("name", SINGLE_ANIMAL)
def test_deeplabcuts_heatmap_models_are_these_backbones_with_one_deconvolution(name: str) -> None:
    pipeline = built(Input(256, 256), f"model={name}", "neck=identity", "head=heatmap")
    count = sum(weight.numel() for weight in pipeline.parameters())
    assert count / 1e6 == pytest.approx(SINGLE_ANIMAL[name], abs=0.005)
    assert pipeline.head.stride == 16


@pytest.mark.parametrize("keypoints", [1, 4, 24])
@pytest.mark.parametrize("bins_per_pixel", [1, 2, 3])
def test_any_number_of_keypoints(keypoints: int, bins_per_pixel: int) -> None:
    head = head_of(keypoints, bins_per_pixel=bins_per_pixel)
    maps = head(torch.randn(2, 16, 2, 3))
    assert maps.x.shape == (2, keypoints, CANVAS[1] * bins_per_pixel)
    assert maps.y.shape == (2, keypoints, CANVAS[0] * bins_per_pixel)
    assert [pred.keypoints_in_crop.shape for pred in head.decode(maps)] == [(1, keypoints, 2)] * 2


@given(st.integers(0, 100_000), st.sampled_from([0.0, -0.5]), st.sampled_from([1, 2]))
def test_labels_come_back_to_a_hundredth_of_a_pixel_up_to_the_edges(seed: int, shift: float, fine: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = CANVAS
    poses = rng.uniform(-0.5, (width - 0.5, height - 0.5), (2, 1, 6, 2))
    poses[:, 0, 0], poses[:, 0, 1] = (-0.5, -0.5), (width - 0.5, height - 0.5)
    poses[0, 0, 3] = np.nan
    batch = batch_of(list(poses), CANVAS)
    head = head_of(6, bin_shift=shift, bins_per_pixel=fine)
    for pred, gt in zip(head.decode(head.encode(batch)), batch.keypoints_in_crop, strict=True):
        assert_found(pred, gt, within=0.01)
        missing = gt[0].isnan().any(dim=-1)
        assert torch.equal(pred.keypoints_in_crop[0].isnan().any(dim=-1), missing)
        assert (pred.keypoint_scores[0] > 0.9).tolist() == (~missing).tolist()


def test_the_flipped_image_has_the_flipped_targets() -> None:
    batch = batch_of([np.array([[[10.2, 5.5], [40.0, 33.3], [90.7, 60.1]]])], CANVAS)
    head = head_of(3)
    plain, mirrored = head.encode(batch), head.encode(flipped(batch, (0, 2, 1)))
    torch.testing.assert_close(mirrored.x, plain.x[:, [0, 2, 1]].flip(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mirrored.y, plain.y[:, [0, 2, 1]])


def test_keypoints_outside_the_canvas_are_unsupervised() -> None:
    outside = [[-0.6, 20.0], [20.0, -3.0], [CANVAS[1] - 0.4, 20.0], [20.0, CANVAS[0] + 10.0]]
    head = head_of(5)
    targets = head.encode(batch_of([np.array([[*outside, [20.0, 20.0]]])], CANVAS))
    for axis in targets:
        assert axis.isnan().all(dim=-1).tolist() == [[True, True, True, True, False]]


def test_keypoints_have_no_order_but_that_of_their_maps() -> None:
    head, features = head_of(4), torch.randn(1, 16, 2, 3)
    order, plain = [2, 0, 3, 1], head(features)
    head.to_keypoints.weight.data = head.to_keypoints.weight.data[order]
    head.to_keypoints.bias.data = head.to_keypoints.bias.data[order]
    torch.testing.assert_close(head(features).x, plain.x[:, order])


def test_it_starts_undecided() -> None:
    head = head_of(4)
    pred = head.decode(head(torch.randn(3, 16, 2, 3)))
    assert max(float(each.keypoint_scores.max()) for each in pred) < 0.01
    targets = head.encode(batch_of([np.full((1, 4, 2), 30.0)] * 3, CANVAS))
    least = math.log(2 * CANVAS[1]) - math.log(2 * math.pi * math.e * head.x_sigma**2 / 10) / 2
    assert float(head.loss(head(torch.randn(3, 16, 2, 3)), targets)["x"]) == pytest.approx(least, rel=0.1)


def test_an_input_without_one_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="input=resize"):
        built(Input(multiple_of=32), "model=rtmpose_s")
    with pytest.raises(ConfigError, match="multiples of"):
        built(Input(100, 256), "model=rtmpose_s")


@pytest.mark.parametrize("settings", [{"bins_per_pixel": 0}, {"kernel": 4}])
def test_invalid_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="bins_per_pixel"):
        head_of(4, **settings)


def test_models_have_their_input_size_and_take_crops_when_top_down() -> None:
    sizes = {name: compose([f"model={name}"])["input"]["height"] for name in ("rtmpose_s", "rtmpose_m", "rtmpose_x")}
    assert sizes == {"rtmpose_s": 256, "rtmpose_m": 256, "rtmpose_x": 384}
    several = compose(["model=rtmpose_s", "pipeline=top_down", "detector=centernet"])
    assert several["input"]["height"] == 256
    assert several["head"]["_target_"] == "dlcpose.heads.rtmcc.RtmccHead"


@pytest.mark.slow
def test_two_images_are_overfitted() -> None:
    config = tiny_config(
        backbone={**option("backbone", "cspnext_s"), "widen": 0.125},
        neck=option("neck", "identity"),
        head={**option("head", "rtmcc"), "width": 64, "attended": 32},
        input={**option("input", "resize"), "height": 64, "width": 64},
    )
    pipeline, module = run_of(config, frames_of(4))
    module.setup("fit")
    batch = pipeline.normalized(next(iter(module.train_dataloader())))
    optimizer = torch.optim.AdamW(pipeline.parameters(), lr=1e-3)
    targets, values = pipeline.encode(batch), []
    for _ in range(100):
        loss = torch.stack(list(pipeline.losses(pipeline(batch.images), targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[1] < values[0]
    # As in training: running means of eight values a channel, four cells of two images, say little of the deepest maps.
    with torch.no_grad():
        pred = pipeline.decode(pipeline(batch.images))
    for animal, gt in zip(pred, batch.keypoints_in_crop, strict=True):
        assert_found(animal, gt, within=1.0)
        assert animal.keypoint_scores[~gt.isnan().any(dim=-1)].min() > 0.8
