"""What every detector promises, run on each option of conf/detector."""

from pathlib import Path

import pytest
import torch

from dlcpose.detectors.base import Boxes, Detector
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import CheckpointError
from tests.detectors.made_up_scenes import detector_of, scene

OPTIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "detector").glob("*.yaml"))
OPTIONS.remove("none")
LEARNING = [option for option in OPTIONS if option != "ground_truth"]
ANIMALS = [[[20.0, 20.0, 60.0, 50.0], [80.0, 40.0, 110.0, 90.0]], [[10.0, 30.0, 50.0, 70.0]], []]


@pytest.fixture(scope="module", params=OPTIONS)
def detector(request: pytest.FixtureRequest) -> Detector:
    return detector_of(request.param)


@pytest.fixture(scope="module", params=LEARNING)
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
    together = detect(detector, batch)
    assert len(together) == 3
    for index, found in enumerate(together):
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
    boxes = detector.true_boxes(batch)
    assert boxes.shape == (2, 2, 4)
    assert boxes[0, 1].isnan().all()  # outside
    assert boxes[1].isnan().all()  # nobody there
    assert boxes[0, 0, 0] == -0.5
    assert boxes[0, 0, 1] < 20


@pytest.mark.parametrize("animals", [ANIMALS, [[], []]], ids=["some", "none"])
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
    detector, path = detector_of("centres"), tmp_path / "a.ckpt"
    with pytest.raises(CheckpointError, match="no such file"):
        detector.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="without running code"):
        detector.load(path)
    torch.save({"state_dict": {"head.weight": torch.zeros(1)}}, path)
    with pytest.raises(CheckpointError, match="holds no detector"):
        detector.load(path)
    torch.save({"state_dict": {f"detector.{name}": value for name, value in detector.state_dict().items()}}, path)
    wider = detector_of("centres", "detector.channels=24")
    with pytest.raises(CheckpointError, match="a detector of another kind"):
        wider.load(path)
