"""torchvision's detectors: the same pixels, and never random weights where others were asked for."""

from collections.abc import Callable
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from torch import Tensor

from dlcpose.detectors.faster_rcnn import FasterRcnnMobilenet, FasterRcnnResnet50
from dlcpose.detectors.ssdlite import SsdLite
from dlcpose.detectors.torchvision_base import TorchvisionDetector
from dlcpose.structures.errors import CheckpointError
from tests.detectors.made_up_scenes import detector_of, scene

KINDS: dict[str, type[TorchvisionDetector]] = {
    "fasterrcnn_resnet50_fpn_v2": FasterRcnnResnet50,
    "fasterrcnn_mobilenet_v3_large_fpn": FasterRcnnMobilenet,
    "ssdlite": SsdLite,
}


def fetched(kind: type[TorchvisionDetector], fetch: Callable[[], dict[str, Tensor]], patch: pytest.MonkeyPatch) -> None:
    """Let torchvision's weights of a detector be what `fetch` gives."""
    patch.setattr(kind, "coco_weights", SimpleNamespace(get_state_dict=lambda progress: fetch()))


@pytest.mark.parametrize(
    "option",
    [pytest.param(option, marks=pytest.mark.slow) if "resnet50" in option else option for option in KINDS],
)
def test_unreachable_weights_error_names_the_alternatives(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline() -> dict[str, Tensor]:
        raise URLError("no route")

    fetched(KINDS[option], offline, monkeypatch)
    with pytest.raises(CheckpointError) as caught:
        detector_of(option, "detector.pretrained=true")
    assert "cannot be fetched (URLError)" in str(caught.value)
    assert "detector.checkpoint=FILE" in str(caught.value)
    assert "detector.pretrained=false" in str(caught.value)


def test_all_of_cocos_weights_but_its_classes_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = detector_of("ssdlite").network.state_dict()
    coco = {name: torch.full_like(value, 3) for name, value in fresh.items()}
    of_classes = [name for name, value in fresh.items() if len(value.shape) and value.shape[0] in (12, 2 * 6)]
    of_classes = [name for name in of_classes if "classification_head" in name]
    assert of_classes
    for name in of_classes:
        coco[name] = torch.zeros(91 * 6, *fresh[name].shape[1:])
    fetched(SsdLite, lambda: coco, monkeypatch)
    state = detector_of("ssdlite", "detector.pretrained=true").network.state_dict()
    for name, value in state.items():
        assert (value == 3).all() == (name not in of_classes), name


def test_weights_that_lack_a_layer_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched(SsdLite, dict, monkeypatch)
    with pytest.raises(CheckpointError, match="torchvision's weights lack backbone"):
        detector_of("ssdlite", "detector.pretrained=true")


def test_targets_count_pixels_from_their_corner() -> None:
    detector = detector_of("ssdlite")
    batch = scene([[[20.0, 20.0, 60.0, 50.0]], []])
    first, second = detector._targets(batch)
    torch.testing.assert_close(first["boxes"], detector.gt_boxes(batch)[0] + 0.5)
    assert first["labels"].tolist() == [1]
    assert second["boxes"].shape == (0, 4)


def test_boxes_count_from_pixel_centers(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = detector_of("ssdlite")
    theirs = [{"boxes": torch.tensor([[0.0, 0.0, 10.0, 5.0]]), "scores": torch.tensor([0.9])}]
    monkeypatch.setattr(detector.network, "forward", lambda images: theirs)
    (found,) = detector.detect(scene([[]]))
    torch.testing.assert_close(found.boxes_in_frame, torch.tensor([[-0.5, -0.5, 9.5, 4.5]]))
