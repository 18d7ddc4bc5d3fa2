"""What every pipeline shares: one step for training and validation, and the way from a crop back to the source image."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from dlcpose.codecs.affine import apply_affine
from dlcpose.codecs.boxes import moved_boxes
from dlcpose.heads.base import Head, Maps
from dlcpose.metrics.base import Metric, figures_of
from dlcpose.side_heads.base import SideHead
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PoseInstances, PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton


class PoseMaps(NamedTuple):
    """What a pipeline's heads find in a batch."""

    animals: Maps  # of the head
    beside: tuple[Maps, ...]  # of each side head, in their order


class Trainable(LightningModule):
    """What every pipeline shares, whatever it finds: figures over whole validation sets, the optimizer, what is saved.

    A subclass names in its constructor what of a config's parts it is made of. optimizer: from parameters to an
    optimizer. schedule: from (optimizer, steps) to Lightning's description of one. metrics: by name, each from
    (predictions, labels, skeleton) to figures. labels: of the frames that validation sees, by key. described: what a
    checkpoint must hold besides the weights.
    one_animal_each: whether a head is shown each animal alone, so that a head for one serves images with many.
    """

    one_animal_each: ClassVar[bool] = False

    def __init__(
        self,
        *,
        model_input: Input,
        skeleton: Skeleton,
        optimizer: Callable[..., Optimizer] | None = None,
        schedule: Callable[..., dict[str, Any]] | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__()
        self.model_input, self.skeleton = model_input, skeleton
        self.optimizer, self.schedule, self.metrics = optimizer, schedule, dict(metrics or {})
        self.labels: Mapping[str, FrameLabels] = {}
        self.described: dict[str, Any] = {}
        self.validated: list[PosePrediction] = []

    @classmethod
    def head_canvas(cls, model_input: Input, settings: Mapping[str, Any]) -> tuple[int, int] | None:
        """(height, width) of what the head is shown, None where it differs from image to image."""
        return model_input.canvas

    def shown_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of what the networks of its poses are shown of an image of (height, width)."""
        return image_size

    @property
    def needs_labels(self) -> bool:
        """Whether it predicts only in labelled images."""
        return False

    @property
    def finds(self) -> str:
        """What it finds, for the plan of a run."""
        return f"{len(self.skeleton)} keypoints"

    @abstractmethod
    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """The animals in each image of a batch of uint8 images, in the source image's pixels."""

    def oracles(self) -> dict[str, Callable[[PoseBatch], list[PosePrediction]]]:
        """Other ways to predict a labelled batch, by name, that are told more: what they gain, a part loses."""
        return {}

    def in_image(
        self, batch: PoseBatch, found: Sequence[PoseInstances], boxes_in_crop: Sequence[Tensor] | None = None
    ) -> list[PosePrediction]:
        """Decoded poses, and the boxes (M, 4) they were found in, moved from the crop to the source image, as numpy."""
        boxes = boxes_in_crop or [instances.scores.new_full((len(instances), 4), torch.nan) for instances in found]
        return [
            _prediction(key, instances, box, crop_to_image)
            for key, instances, box, crop_to_image in zip(batch.keys, found, boxes, batch.crop_to_image, strict=True)
        ]

    def log_losses(self, losses: Mapping[str, Tensor], split: str, count: int) -> Tensor:
        """Log each term and their sum over `count` samples, and return the sum."""
        total = torch.stack(list(losses.values())).sum()
        logged = {f"{split}/loss": total, **{f"{split}/loss_{name}": value for name, value in losses.items()}}
        self.log_dict(logged, batch_size=count, on_step=False, on_epoch=True, sync_dist=True)
        return total

    def on_validation_epoch_end(self) -> None:
        """Figures over all frames of the validation set."""
        predictions, self.validated = self.validated, []
        labels = [self.labels[prediction.key] for prediction in predictions]
        figures = figures_of(self.metrics, predictions, labels, self.skeleton)
        self.log_dict({f"val/{name}": float(value) for name, value in figures.items()}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimizer over what is not frozen, with its schedule over the whole run."""
        if self.optimizer is None or self.schedule is None:
            raise ValueError("This pipeline was built to predict: it has no optimizer.")
        optimizer = self.optimizer([weight for weight in self.parameters() if weight.requires_grad])
        steps = int(self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": self.schedule(optimizer, steps)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What makes a checkpoint self-contained."""
        checkpoint["dlcpose"] = self.described


class Pipeline(Trainable):
    """Backbone, neck and head as one LightningModule; subclasses add what stands between a head and the answer.

    side_heads: by name, what else is read from the same features.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        head: Head,
        *,
        model_input: Input,
        skeleton: Skeleton,
        side_heads: Mapping[str, SideHead] | None = None,
        optimizer: Callable[..., Optimizer] | None = None,
        schedule: Callable[..., dict[str, Any]] | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__(
            model_input=model_input, skeleton=skeleton, optimizer=optimizer, schedule=schedule, metrics=metrics
        )
        self.backbone, self.neck, self.head = backbone, neck, head
        self.side_heads = nn.ModuleDict(dict(side_heads or {}))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(model_input.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(model_input.std)[:, None, None], persistent=False)

    @property
    def finds(self) -> str:
        """What it finds, for the plan of a run."""
        return f"{len(self.skeleton)} keypoints, stride {self.head.stride:g}"

    def forward(self, images: Tensor) -> PoseMaps:
        """The heads' maps of normalised images (B, 3, H, W)."""
        features = self.neck(self.backbone(images))  # (B, C, h, w)
        return PoseMaps(self.head(features), tuple(beside(features) for beside in self._beside()))

    def encode(self, batch: PoseBatch) -> PoseMaps:
        """The maps wanted for a batch."""
        return PoseMaps(self.head.encode(batch), tuple(beside.encode(batch) for beside in self._beside()))

    def losses(self, maps: PoseMaps, wanted: PoseMaps) -> dict[str, Tensor]:
        """One scalar for each term of each head; their sum is what training lowers."""
        losses = dict(self.head.loss(maps.animals, wanted.animals))
        each = zip(self.side_heads, self._beside(), maps.beside, wanted.beside, strict=True)
        for name, beside, found, asked in each:
            losses |= {f"{name}_{term}": value for term, value in beside.loss(found, asked).items()}
        return losses

    def decode(self, maps: PoseMaps) -> list[PoseInstances]:
        """The animals in each image, with what the side heads know of them and of the arena."""
        found = self.head.decode(maps.animals)
        for beside, its_maps in zip(self._beside(), maps.beside, strict=True):
            found = beside.complete(found, its_maps)
        return found

    def _beside(self) -> list[SideHead]:
        return cast(list[SideHead], list(self.side_heads.values()))

    def normalised(self, batch: PoseBatch) -> PoseBatch:
        """The batch with float images: (pixel / 255 − mean) / std, channels last."""
        images = (batch.images.float() / 255 - self.mean) / self.std
        return replace(batch, images=images.contiguous(memory_format=torch.channels_last))

    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """The animals in each image of a batch of uint8 images, in the source image's pixels."""
        batch = self.normalised(batch)
        return self.in_image(batch, self.decode(self(batch.images)))

    def _step(self, batch: PoseBatch, split: str) -> tuple[Tensor, PoseMaps]:
        maps = self(batch.images)
        losses = self.losses(maps, self.encode(batch))  # one scalar per name
        return self.log_losses(losses, split, len(batch)), maps

    def training_step(self, batch: PoseBatch, batch_index: int) -> Tensor:
        """The loss of one batch."""
        return self._step(self.normalised(batch), "train")[0]

    def validation_step(self, batch: PoseBatch, batch_index: int) -> None:
        """The loss of one batch, and its predictions for the epoch's figures."""
        batch = self.normalised(batch)
        _, maps = self._step(batch, "val")
        self.validated += self.in_image(batch, self.decode(maps))


def _prediction(key: str, instances: PoseInstances, boxes_in_crop: Tensor, crop_to_image: Tensor) -> PosePrediction:
    matrix = crop_to_image.cpu().numpy()

    def floats(tensor: Tensor) -> Any:
        return tensor.detach().float().cpu().numpy()

    return PosePrediction(
        key=key,
        keypoints_in_image=apply_affine(matrix, floats(instances.keypoints_in_crop)),
        keypoint_scores=floats(instances.keypoint_scores),
        scores=floats(instances.scores),
        identities=instances.identities.cpu().numpy().astype(np.int64),
        unique_in_image=apply_affine(matrix, floats(instances.unique_in_crop)),
        unique_scores=floats(instances.unique_scores),
        boxes_in_image=floats(moved_boxes(crop_to_image.expand(len(instances), 2, 3), boxes_in_crop)),
    )
