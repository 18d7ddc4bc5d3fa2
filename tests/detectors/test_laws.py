"""What every detector promises, run on each option of conf/detector."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcpose.detectors.base import Boxes, Detector
from dlcpose.pipelines.finite_values import outputs_checked
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import CheckpointError
from tests.detectors.made_up_scenes import detector_of, scene, together

OPTIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "detector").glob("*.yaml"))
# Those that are built from facts, and find poses, have laws of their own: tests/detectors/test_pose_boxes.py.
OPTIONS = [option for option in OPTIONS if option not in ("none", "pose_boxes", "perturbed_pose_boxes")]
LEARNING = [option for option in OPTIONS if option != "ground_truth"]
SLOW = "fasterrcnn_resnet50_fpn_v2"  # the light one shows the same of Faster R-CNN


def quick_first(options: list[str]) -> list[Any]:
    return [pytest.param(option, marks=pytest.mark.slow) if option == SLOW else option for option in options]


ANIMALS = [[[20.0, 20.0, 60.0, 50.0], [80.0, 40.0, 110.0, 90.0]], [[10.0, 30.0, 50.0, 70.0]], []]

# Without area, outside the frame on either side, and partly.
ODD = [
    [[30.0, 30.0, 30.0, 30.0], [300.0, 20.0, 400.0, 60.0], [-90.0, 20.0, -60.0, 50.0], [100.0, 20.0, 200.0, 60.0]],
    [],
]


@pytest.fixture(scope="module", params=quick_first(OPTIONS))
def detector(request: pytest.FixtureRequest) -> Detector:
    return detector_of(request.param)


@pytest.fixture(scope="module", params=quick_first(LEARNING))
def learning(request: pytest.FixtureRequest) -> Detector:
    return detector_of(request.param)


def one(batch: PoseBatch, index: int) -> PoseBatch:
    tensors = {name: value[index : index + 1] for name, value in vars(batch).items()}
    return PoseBatch(**tensors)


def detect(detector: Detector, batch: PoseBatch) -> list[Boxes]:
    with torch.inference_mode():
        return detector.detect(batch)


def test_a_batch_gives_what_its_frames_give_alone(detector: Detector) -> None:
    batch = scene(ANIMALS)
    of_batch = detect(detector, batch)
    assert len(of_batch) == 3
    for index, found in enumerate(of_batch):
        (alone,) = detect(detector, one(batch, index))
        assert len(found.scores) == len(alone.scores)
        torch.testing.assert_close(found.scores, alone.scores, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.boxes_in_frame[:3], alone.boxes_in_frame[:3], atol=0.1, rtol=1e-2)


def test_boxes_are_boxes_and_the_surest_come_first(detector: Detector) -> None:
    for boxes, scores in detect(detector, scene(ANIMALS)):
        assert boxes.shape == (len(scores), 4)
        assert boxes.isfinite().all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert ((scores >= 0) & (scores <= 1)).all()
        assert (scores.diff() <= 0).all()


def test_true_boxes_lie_in_the_frame(detector: Detector) -> None:
    batch = scene([[[-30.0, 20.0, 40.0, 60.0], [300.0, 20.0, 400.0, 60.0]], []])
    boxes = detector.gt_boxes(batch)
    assert boxes.shape == (2, 2, 4)
    assert boxes[0, 1].isnan().all()  # outside
    assert boxes[1].isnan().all()  # nobody there
    assert boxes[0, 0, 0] == -0.5
    assert boxes[0, 0, 1] < 20


@pytest.mark.parametrize("animals", [ANIMALS, [[], []], ODD], ids=["some", "none", "odd"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_losses_and_gradients_are_finite(learning: Detector, animals: list, mode: str) -> None:
    learning.train(mode == "train")
    before = {name: value.clone() for name, value in learning.named_buffers()}
    losses = learning.losses(scene(animals))
    assert learning.training == (mode == "train")
    assert all(value.shape == () and value.isfinite() for value in losses.values())
    learning.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    gradients = [weight.grad for weight in learning.parameters() if weight.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    if animals[0]:  # SSD learns nothing from frames without any
        assert any(gradient.abs().max() > 0 for gradient in gradients)
    if mode == "eval":  # a look at the validation set changes nothing
        assert all(torch.equal(value, before[name]) for name, value in learning.named_buffers())
    learning.eval()


def test_weights_come_back_from_a_checkpoint(
    learning: Detector, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    option = request.node.callspec.params["learning"]
    state = {f"detector.{name}": value + 1 for name, value in learning.state_dict().items()}
    torch.save({"state_dict": {**state, "head.weight": torch.zeros(1)}}, tmp_path / "best.ckpt")
    again = detector_of(option, f"detector.checkpoint={tmp_path / 'best.ckpt'}")
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, learning.state_dict()[name] + 1)


def test_what_holds_no_such_detector_is_refused(tmp_path: Path) -> None:
    detector, path = detector_of("centernet"), tmp_path / "a.ckpt"
    with pytest.raises(CheckpointError, match=r"detector\.checkpoint"):
        detector.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"detector\.checkpoint"):
        detector.load(path)
    torch.save({"state_dict": {"head.weight": torch.zeros(1)}}, path)
    with pytest.raises(CheckpointError, match=r"detector\.checkpoint"):
        detector.load(path)
    torch.save({"state_dict": {f"detector.{name}": value for name, value in detector.state_dict().items()}}, path)
    wider = detector_of("centernet", "detector.channels=24")
    with pytest.raises(CheckpointError, match=r"detector\.checkpoint"):
        wider.load(path)


def test_padding_to_a_larger_frame_of_the_batch_changes_nothing(detector: Detector) -> None:
    frames = scene(ANIMALS[:1], (64, 96)), scene(ANIMALS[1:2], (96, 160))
    both = together(frames)
    assert both.own_sizes == ((64, 96), (96, 160))
    boxes, in_both = detector.gt_boxes(frames[0])[0], detector.gt_boxes(both)[0]
    torch.testing.assert_close(in_both[: len(boxes)], boxes, equal_nan=True)  # they end where the frame ends
    for found, frame in zip(detect(detector, both), frames, strict=True):
        (alone,) = detect(detector, frame)
        assert len(found.scores) == len(alone.scores)
        torch.testing.assert_close(found.scores, alone.scores, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.boxes_in_frame[:3], alone.boxes_in_frame[:3], atol=0.1, rtol=1e-2)


def test_frames_of_unlike_sizes_are_learned_from(learning: Detector) -> None:
    losses = learning.train().losses(together((scene(ANIMALS[:1], (64, 96)), scene(ANIMALS[1:2], (96, 160)))))
    learning.eval()
    assert all(value.isfinite() for value in losses.values())


def test_weights_that_are_finite_but_absurd_detect_nothing_in_silence(learning: Detector) -> None:
    absurd = deepcopy(learning)
    with outputs_checked(absurd.output_layers(), "model"):
        detect(absurd, scene(ANIMALS))
        with torch.no_grad():
            for weight in absurd.parameters():
                weight.mul_(1e30 if weight.ndim > 1 else 1)
        with pytest.raises(CheckpointError, match=r"^model: the network gave "):
            detect(absurd, scene(ANIMALS))
    detect(absurd, scene(ANIMALS))  # as where training validates, which may recover
