"""Base class of detectors, and their training settings."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dlcpose.codecs.boxes import clip_boxes
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.errors import CheckpointError, ConfigError

BoxRule = Callable[[Tensor, Tensor], Tensor]  # (keypoints (..., K, 2), the data's boxes (..., 4)) -> boxes (..., 4)


class Boxes(NamedTuple):
    """The boxes detected in one frame, by descending score."""

    boxes_in_frame: Tensor  # (M, 4) x1 y1 x2 y2
    scores: Tensor  # (M,) in [0, 1]


@dataclass(frozen=True)
class DetectorTraining:
    """How a detector is trained before the poses.

    epochs: a whole number, or a share of the poses' epochs above 0 and up to 1.0; None: as many. lr: the learning rate.
    Raises ValueError for epochs and learning rates that are not positive, and for a share above 1.
    """

    epochs: int | float | None = None
    lr: float = 1e-3

    def __post_init__(self) -> None:
        most = 1.0 if isinstance(self.epochs, float) else math.inf
        if (self.epochs is not None and not 0 < self.epochs <= most) or not self.lr > 0:
            raise ValueError(
                "expected epochs of 1 or more, a share of the poses' above 0 and up to 1.0, or null, and lr above 0, got "
                f"epochs {self.epochs} and lr {self.lr}"
            )


class Detector(nn.Module, ABC):
    """Detects the animals of frames as boxes.

    A frame is what a batch's uint8 images show; the fields of a batch call it the crop (of the source image). boxes:
    the rule that makes ground-truth boxes of labeled keypoints and the data's boxes. is_trainable: whether there is
    anything to train. is_trained: whether its weights come from a checkpoint. needs_labels: whether it detects only
    what is labeled. finds_poses: whether it is a PoseDetector. max_animals: maximum in a frame, None for any number.
    """

    is_trainable: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False
    finds_poses: ClassVar[bool] = False
    max_animals: int | None = None

    def __init__(self, boxes: BoxRule, training: DetectorTraining | None = None) -> None:
        super().__init__()
        self.box_rule, self.is_trained = boxes, False
        self.training_settings = training or DetectorTraining()  # nn.Module has a `training` of its own

    def gt_boxes(self, batch: PoseBatch) -> Tensor:
        """The ground-truth box of each labeled animal, clipped to its frame: (B, N, 4), NaN where there is none in it."""
        boxes = self.box_rule(batch.keypoints_in_crop, batch.boxes_in_crop)
        return torch.stack([clip_boxes(each, size) for each, size in zip(boxes, batch.own_sizes, strict=True)])

    @abstractmethod
    def losses(self, batch: PoseBatch) -> dict[str, Tensor]:
        """One scalar for each term, already weighted, against `gt_boxes`."""

    @abstractmethod
    def detect(self, batch: PoseBatch) -> list[Boxes]:
        """The boxes in each frame, independent of the other frames in the batch."""

    def output_layers(self) -> Sequence[nn.Module]:
        """The layers whose outputs are the network's, before they are brought into any range; none without a network."""
        return ()

    def graph_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """What an exported graph gives of the float images (B, 3, h, w) that `graph_detector` prepares.

        Raises ConfigError for a detector that cannot be exported, which is one that does not define both.
        """
        raise _not_exported(self)

    def graph_detector(self) -> Any:
        """Pre- and postprocessing of the exported graph, a `detectors.graph_detector.GraphDetector`."""
        raise _not_exported(self)

    def load(self, checkpoint: str | Path) -> None:
        """Load the weights of the detector in a checkpoint of model=detection or of a top-down model.

        Raises CheckpointError when the file is no checkpoint, or its detector is of another kind.
        """
        state = _detector_weights(Path(checkpoint))
        own = self.state_dict()
        unlike = [name for name in own if name not in state or state[name].shape != own[name].shape]
        if unlike or len(state) != len(own):
            raise CheckpointError(
                f"detector.checkpoint: {checkpoint} holds a detector of another kind: "
                f"{len(unlike)} of the {len(own)} weights of {type(self).__name__} are not there in their shape"
                f"{f' (such as {unlike[0]})' if unlike else ''}. Choose the detector it was trained as, with its settings."
            )
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise CheckpointError(
                f"detector.checkpoint: {checkpoint} holds weights that are not finite. Train it anew."
            )
        self.load_state_dict(state)
        self.is_trained = True


def _not_exported(detector: Detector) -> ConfigError:
    return ConfigError(
        f"detector: {type(detector).__name__} cannot be exported: it chooses its boxes within the network, as many as there "
        "are in a frame, and a graph gives as many for every frame. Train with detector=centernet."
    )


def detect_by_size(batch: PoseBatch, detect: Callable[[Tensor], list[Boxes]]) -> list[Boxes]:
    """The boxes in each frame, by a `detect` that takes frames (B', 3, H, W) of one size: it never sees padding."""
    detections: dict[int, Boxes] = {}
    for places, frames in group_by_size(batch):
        detections |= dict(zip(places, detect(frames), strict=True))
    return [detections[place] for place in range(len(batch))]


def group_by_size(batch: PoseBatch) -> Iterator[tuple[list[int], Tensor]]:
    """The frames of each size without their padding: their places in the batch, and (B', 3, H, W) uint8."""
    whole = (batch.images.shape[-2], batch.images.shape[-1])
    for size in dict.fromkeys(batch.own_sizes):
        places = [place for place, own in enumerate(batch.own_sizes) if own == size]
        is_all = size == whole and len(places) == len(batch)
        yield places, batch.images if is_all else batch.images[places, :, : size[0], : size[1]]


def _detector_weights(path: Path) -> dict[str, Tensor]:
    """The weights below `detector.` in a checkpoint of model=detection or of a top-down model."""
    if not path.is_file():
        raise CheckpointError(
            f"detector.checkpoint: no such file: {path}. A run of model=detection leaves checkpoints/best.ckpt."
        )
    try:
        state: Any = read_checkpoint_file(path).get("state_dict")
    except CheckpointError as error:
        raise CheckpointError(f"detector.checkpoint: {error}") from error
    prefix = "detector."
    weights = {
        name.removeprefix(prefix): value
        for name, value in (state.items() if isinstance(state, dict) else ())
        if str(name).startswith(prefix) and isinstance(value, Tensor)
    }
    if not weights:
        raise CheckpointError(
            f"detector.checkpoint: {path} holds no detector. Give the best.ckpt of a run of model=detection."
        )
    return weights
