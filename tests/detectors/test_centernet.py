"""Centers and boxes: what is encoded is decoded, at any scale, and learned from little."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from dlcpose.codecs.affine import cells_from_pixels
from dlcpose.detectors.centernet import CenterNetDetector, CenterNetMaps
from dlcpose.structures.errors import ConfigError
from tests.detectors.made_up_scenes import SIZE, detector_of, scene

DETECTOR: Any = detector_of("centernet")
MAP = (12, 16)


@st.composite
def apart(draw: st.DrawFn) -> Tensor:
    """Up to three boxes in cells whose centers are well apart, some larger than the map, some less than a cell."""
    places = draw(st.permutations([(2.2, 2.7), (8.4, 6.1), (13.7, 9.3)]))[: draw(st.integers(0, 3))]
    sides = st.floats(0.3, 9.0)
    boxes = [[x - (w := draw(sides)) / 2, y - (h := draw(sides)) / 2, x + w / 2, y + h / 2] for x, y in places]
    return torch.tensor(boxes).reshape(1, -1, 4)


@given(boxes=apart())
def test_decoding_what_was_encoded_gives_the_boxes(boxes: Tensor) -> None:
    (found,) = DETECTOR.decode(DETECTOR.encode(boxes, MAP))
    assert len(found.scores) == boxes.shape[1]
    if not len(found.scores):
        return
    apart = (found.boxes_in_frame[:, None] - boxes[0]).abs().amax(dim=-1)  # (M, N)
    assert sorted(apart.argmin(dim=0).tolist()) == list(range(boxes.shape[1]))
    assert apart.amin(dim=0).max() < 1e-4
    assert found.scores.min() > 0.99


@given(boxes=apart())
def test_what_is_targets_costs_nothing(boxes: Tensor) -> None:
    targets = DETECTOR.encode(boxes, MAP)
    found = CenterNetMaps(targets.centers, targets.boxes.nan_to_num(0.0))
    for value in DETECTOR.loss(found, targets).values():
        assert 0 <= float(value) < 1e-5
    assert type(DETECTOR(torch.zeros(1, 3, 96, 128))) is CenterNetMaps


def test_boxes_that_are_unknown_ask_for_nothing() -> None:
    boxes = torch.tensor([[[2.0, 2.0, 6.0, 6.0], [math.nan] * 4]])
    with_padding, alone = DETECTOR.encode(boxes, MAP), DETECTOR.encode(boxes[:, :1], MAP)
    for one, other in zip(with_padding, alone, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


def test_close_animals_are_two() -> None:
    boxes = torch.tensor([[[2.0, 2.0, 7.0, 5.0], [3.9, 2.5, 8.9, 5.5]]])  # IoU 0.38, less than two cells apart
    (found,) = DETECTOR.decode(DETECTOR.encode(boxes, MAP))
    assert len(found.scores) == 2


@pytest.mark.parametrize("size", [SIZE, (97, 130), (300, 400), (700, 500)])
def test_boxes_come_back_in_the_pixels_of_the_frame(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Through shrinking and padding: the maps that are targets of a frame are decoded to its true boxes."""
    detector = detector_of("centernet")
    height, width = size
    batch = scene(
        [[[0.2 * width, 0.3 * height, 0.5 * width, 0.7 * height], [0.6 * width, 10.0, 0.9 * width, 60.0]]], size
    )
    images, _ = detector._scale(batch.images)
    assert max(images.shape[-2:]) <= 320
    targets: list[CenterNetMaps] = []
    encode = detector.encode
    monkeypatch.setattr(detector, "encode", lambda *given: targets.append(encode(*given)) or targets[0])
    detector.losses(batch)
    monkeypatch.setattr(detector, "forward", lambda images: targets[0])
    (found,) = detector.detect(batch)
    gt = detector.gt_boxes(batch)[0]
    assert len(found.scores) == 2
    torch.testing.assert_close(box_iou(found.boxes_in_frame, gt).amax(dim=1), torch.ones(2), atol=1e-3, rtol=0)


def test_only_what_is_too_large_is_scaled_down() -> None:
    small, large = scene([[]], (96, 128)).images, scene([[]], (96, 1280)).images
    scaled, scales = DETECTOR._scale(small)
    assert scaled.shape[-2:] == (96, 128)
    assert scales.tolist() == [1.0] * 4
    scaled, scales = DETECTOR._scale(large)
    assert scaled.shape[-2:] == (24, 320)
    assert DETECTOR._normalize(scaled).shape[-2:] == (32, 320)
    assert scales.tolist() == pytest.approx([0.25] * 4)


def test_it_learns_two_frames_by_heart() -> None:
    torch.manual_seed(0)
    detector = detector_of("centernet").train()
    batch = scene([[[20.0, 20.0, 60.0, 50.0]], [[60.0, 30.0, 100.0, 80.0]]])
    # Bright animals on a dark ground.
    batch.images[:] = 20
    for image, boxes in zip(batch.images, detector.gt_boxes(batch), strict=True):
        x1, y1, x2, y2 = boxes[0].round().int().tolist()
        image[:, y1 : y2 + 1, x1 : x2 + 1] = 230
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack(list(detector.losses(batch).values())).sum().backward()
        optimizer.step()
    with torch.inference_mode():
        found = detector.eval().detect(batch)
    for (boxes, scores), gt in zip(found, detector.gt_boxes(batch), strict=True):
        assert scores[0] > 0.3
        assert box_iou(boxes[:1], gt).item() > 0.7


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"detector: .*longest_side"):
        detector_of("centernet", "detector.longest_side=8")
    with pytest.raises(ConfigError, match=r"detector\.training: .*epochs"):
        detector_of("centernet", "detector.training.epochs=0")
    with pytest.raises(ConfigError, match=r"detector\.training: .*share"):
        detector_of("centernet", "detector.training.epochs=1.5")
    with pytest.raises(ConfigError, match="lr"):
        detector_of("centernet", "detector.training.lr=0.0")


def test_cells_are_those_of_the_codec() -> None:
    """A box about the center of a cell is targets there, as far to the left as to the right."""
    assert isinstance(DETECTOR, CenterNetDetector)
    stride = DETECTOR.stride
    middle = torch.tensor([3 * stride + (stride - 1) / 2, 5 * stride + (stride - 1) / 2] * 2)
    boxes = cells_from_pixels(middle + torch.tensor([-20.0, -12.0, 20.0, 12.0]), stride)[None, None]
    targets = DETECTOR.encode(boxes, MAP)
    assert targets.centers[0, 0].argmax() == 5 * MAP[1] + 3
    torch.testing.assert_close(targets.boxes[0, :, 5, 3] * stride, torch.tensor([-20.0, -12.0, 20.0, 12.0]))
