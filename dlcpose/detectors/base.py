"""All that a pipeline may know of a detector, and which boxes are the true ones."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dlcpose.codecs.boxes import clip_boxes
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.errors import CheckpointError

BoxRule = Callable[[Tensor, Tensor], Tensor]  # (keypoints (..., K, 2), the data's boxes (..., 4)) -> boxes (..., 4)


class Boxes(NamedTuple):
    """The boxes found in one frame, the surest first."""

    boxes_in_frame: Tensor  # (M, 4) x1 y1 x2 y2
    scores: Tensor  # (M,) in [0, 1]


@dataclass(frozen=True)
class DetectorTraining:
    """How a detector is trained: epochs, None for as many as the poses are; lr, the optimizer's learning rate.

    Raises ValueError for epochs below 1 or a learning rate that is not positive.
    """

    epochs: int | None = None
    lr: float = 1e-3

    def __post_init__(self) -> None:
        if (self.epochs is not None and self.epochs < 1) or not self.lr > 0:
            raise ValueError(
                f"expected epochs of 1 or more (or null) and lr above 0, got epochs {self.epochs} and lr {self.lr}"
            )


class Detector(nn.Module, ABC):
    """Finds the animals of frames as boxes.

    The frame is what a batch's images show, uint8; the batch's own fields call it the crop (of the source image).
    boxes: from labelled keypoints and the data's boxes to the true ones. learns: whether there is anything to train.
    needs_labels: whether it can only find what is labelled. max_animals: most that are found in a frame, None for any.
    """

    learns: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False
    max_animals: int | None = None

    def __init__(self, boxes: BoxRule, training: DetectorTraining | None = None) -> None:
        super().__init__()
        self.rule = boxes
        self.training_crops = training or DetectorTraining()  # nn.Module has a `training` of its own

    def gt_boxes(self, batch: PoseBatch) -> Tensor:
        """What of each labelled animal's box lies in the frame: (B, N, 4), NaN where nothing does or nothing is known."""
        boxes = self.rule(batch.keypoints_in_crop, batch.boxes_in_crop)
        return torch.stack([clip_boxes(each, size) for each, size in zip(boxes, batch.own_sizes, strict=True)])

    @abstractmethod
    def losses(self, batch: PoseBatch) -> dict[str, Tensor]:
        """One scalar for each term, already weighted, against `true_boxes`."""

    @abstractmethod
    def detect(self, batch: PoseBatch) -> list[Boxes]:
        """The boxes in each frame, whatever others are in the batch."""

    def load(self, checkpoint: str | Path) -> None:
        """Take over the detector's weights from a checkpoint that holds one of the same make.

        Raises CheckpointError when the file is none, or its detector is of another kind.
        """
        state = _detector_weights(Path(checkpoint))
        wanted = self.state_dict()
        unlike = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
        if unlike or len(state) != len(wanted):
            raise CheckpointError(
                f"detector.checkpoint: {checkpoint} holds a detector of another kind: "
                f"{len(unlike)} of the {len(wanted)} weights of {type(self).__name__} are not there in their shape"
                f"{f' (such as {unlike[0]})' if unlike else ''}. Choose the detector it was trained as, with its settings."
            )
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise CheckpointError(
                f"detector.checkpoint: {checkpoint} holds weights that are not finite. Train it anew."
            )
        self.load_state_dict(state)


def batch_by_size(batch: PoseBatch, find: Callable[[Tensor], list[Boxes]]) -> list[Boxes]:
    """The boxes in each frame by a network that finds them in frames (B', 3, H, W) of one size: padding is not shown."""
    found: dict[int, Boxes] = {}
    for places, frames in of_one_size(batch):
        found |= dict(zip(places, find(frames), strict=True))
    return [found[place] for place in range(len(batch))]


def of_one_size(batch: PoseBatch) -> Iterator[tuple[list[int], Tensor]]:
    """The frames of each size without what pads them: their places in the batch, and (B', 3, H, W) uint8."""
    whole = (batch.images.shape[-2], batch.images.shape[-1])
    for size in dict.fromkeys(batch.own_sizes):
        places = [place for place, own in enumerate(batch.own_sizes) if own == size]
        is_all = size == whole and len(places) == len(batch)
        yield places, batch.images if is_all else batch.images[places, :, : size[0], : size[1]]


def _detector_weights(path: Path) -> dict[str, Tensor]:
    """The weights below `detector.` in a checkpoint of pipeline=detection or of a top-down model."""
    if not path.is_file():
        raise CheckpointError(
            f"detector.checkpoint: no such file: {path}. A run of pipeline=detection leaves checkpoints/best.ckpt."
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
            f"detector.checkpoint: {path} holds no detector. Give the best.ckpt of a run of pipeline=detection."
        )
    return weights
