"""Base class of torchvision's detectors, which normalize and resize by themselves and return losses while training."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlcpose.detectors.base import Boxes, BoxRule, Detector, DetectorTraining, detect_by_size
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import CheckpointError

CLASSES = 2  # background and animal


@dataclass(frozen=True)
class TrainedWeights:
    """Weights to begin with: those of a detector's run (checkpoint), else COCO's (pretrained), else random ones."""

    pretrained: bool
    checkpoint: str | None


class TorchvisionDetector(Detector):
    """One of torchvision's detection networks, for a single class.

    coco_weights: torchvision's weights trained on COCO; the layers of COCO's classes start at random in any case.
    network: as torchvision builds it without any weights, for max_animals detections at most. pixel_shift: of the
    network's boxes against the pixels' centers: torchvision counts pixels from the corner of the first one.
    Raises CheckpointError where COCO's weights cannot be fetched.
    """

    coco_weights: ClassVar[Any]

    def __init__(
        self,
        network: nn.Module,
        boxes: BoxRule,
        weights: TrainedWeights,
        *,
        max_animals: int,
        training: DetectorTraining | None,
        pixel_shift: float,
    ) -> None:
        super().__init__(boxes, training)
        self.pixel_shift = pixel_shift
        # Always built without weights and filled afterward: torchvision builds other layers where it is given weights,
        # and a checkpoint would not fit the network that was trained.
        self.network, self.max_animals = network, max_animals
        if weights.checkpoint is not None:
            self.load(weights.checkpoint)
        elif weights.pretrained:
            _fill(network, _fetched(self.coco_weights, type(self).__name__))

    def losses(self, batch: PoseBatch) -> dict[str, Tensor]:
        """torchvision's own losses; the statistics of batch norm change only in training mode."""
        with _returning_losses(self.network):
            frames = [
                image[:, :h, :w].float() / 255 for image, (h, w) in zip(batch.images, batch.own_sizes, strict=True)
            ]
            losses: dict[str, Tensor] = self.network(frames, self._targets(batch))
        return {name.removeprefix("loss_"): value for name, value in losses.items()}

    def detect(self, batch: PoseBatch) -> list[Boxes]:
        """The boxes in each frame."""
        return detect_by_size(batch, self._detect)

    def _detect(self, frames: Tensor) -> list[Boxes]:
        detections = self.network(list(frames.float() / 255))
        return [Boxes(each["boxes"].float() - self.pixel_shift, each["scores"].float()) for each in detections]

    def _targets(self, batch: PoseBatch) -> list[dict[str, Tensor]]:
        known = [boxes[~boxes.isnan().any(dim=-1)] + self.pixel_shift for boxes in self.gt_boxes(batch)]
        return [
            {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64, device=boxes.device)}
            for boxes in known
        ]


def of_channels(values: Sequence[float]) -> list[float]:
    """A value for each channel of RGB, of three or of one for all. Raises ValueError for other numbers of them."""
    if len(values) not in (1, 3):
        raise ValueError(f"expected one value or three, of red, green and blue, got {list(values)}")
    return list(values) * (3 // len(values))


@contextlib.contextmanager
def _returning_losses(network: nn.Module) -> Iterator[None]:
    """Within it the network returns losses also in evaluation mode, in which its batch-norm layers stay."""
    if network.training:
        yield
        return
    for module in network.modules():
        module.training = not isinstance(module, _BatchNorm)
    try:
        yield
    finally:
        network.eval()


def _fetched(coco_weights: Any, name: str) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = coco_weights.get_state_dict(progress=False)
        return state
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"detector.pretrained=true: the COCO weights of {name} cannot be fetched ({type(error).__name__}). Take "
            "detector.checkpoint=FILE of a detector trained elsewhere, or detector.pretrained=false to start at random."
        ) from error


def _fill(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load COCO's weights into a network, except those of COCO's classes, whose shapes differ."""
    own: dict[str, Any] = network.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    fresh = [name for name in own if name not in fitting and not name.endswith("num_batches_tracked")]
    if strange := [name for name in fresh if "predictor" not in name and "classification_head" not in name]:
        raise CheckpointError(f"detector.pretrained=true: torchvision's weights lack {strange[0]}. Update torchvision.")
    network.load_state_dict(fitting, strict=False)
