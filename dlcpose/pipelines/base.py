"""What every pipeline shares: one step for training and validation, and the way from a crop back to the source image."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from dlcpose.codecs.affine import apply_affine
from dlcpose.codecs.boxes import transform_boxes
from dlcpose.heads.base import Head, Maps
from dlcpose.metrics.base import Metric, figures_of
from dlcpose.pipelines.epoch_means import BatchLosses, RunningMeans, mean_of, of_all_devices
from dlcpose.pipelines.unused_parameters import unused_parameters
from dlcpose.side_heads.base import SideHead
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PoseInstances, PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton

SMALLEST = 64  # px of an image where any size will do


class PoseMaps(NamedTuple):
    """What a pipeline's heads find in a batch."""

    animals: Maps  # of the head
    beside: tuple[Maps, ...]  # of each side head, in their order


class PoseModule(LightningModule):
    """What every pipeline shares, whatever it finds: figures over whole validation sets, the optimizer, what is saved.

    A subclass names in its constructor what of a config's parts it is made of. optimizer: from parameters to an
    optimizer. schedule: from (optimizer, steps) to Lightning's description of one. metrics: by name, each from
    (predictions, labels, skeleton) to figures. labels: of the frames that validation sees, by key. described: what a
    checkpoint must hold besides the weights.
    one_animal_each: whether a head is shown each animal alone, so that a head for one serves images with many.
    """

    one_animal_per_crop: ClassVar[bool] = False

    def __init__(
        self,
        *,
        model_input: Input,
        skeleton: Skeleton,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[..., dict[str, Any]] | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__()
        self.model_input, self.skeleton = model_input, skeleton
        self.optimizer, self.scheduler, self.metrics = optimizer, scheduler, dict(metrics or {})
        self.labels: Mapping[str, FrameLabels] = {}
        self.described: dict[str, Any] = {}
        self.validated: list[PosePrediction] = []
        self.running = RunningMeans()  # of the training losses of this epoch
        self.validation_losses: list[BatchLosses] = []
        self.validating: tuple[str, ...] = ()  # the frames of the batch that is being validated

    @classmethod
    def head_canvas(cls, model_input: Input, settings: Mapping[str, Any]) -> tuple[int, int] | None:
        """(height, width) of what the head is shown, None where it differs from image to image."""
        return model_input.canvas

    def network_input_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
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

    def compute_maps(self, batch: PoseBatch) -> Any:
        """The first half of `predict_batch`, up to the networks' maps: while the second half works on these, the device can
        begin with the next batch."""
        return self.predict_batch(batch)

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        """The second half of `predict_batch`: the animals that the maps of `compute_maps` show."""
        predictions: list[PosePrediction] = maps
        return predictions

    def oracles(self) -> dict[str, Callable[[PoseBatch], list[PosePrediction]]]:
        """Other ways to predict a labelled batch, by name, that are told more: what they gain, a part loses."""
        return {}

    def predictions_in_image(
        self, batch: PoseBatch, found: Sequence[PoseInstances], boxes_in_crop: Sequence[Tensor] | None = None
    ) -> list[PosePrediction]:
        """Decoded poses, and the boxes (M, 4) they were found in, moved from the crop to the source image, as numpy."""
        boxes = boxes_in_crop or [instances.scores.new_full((len(instances), 4), torch.nan) for instances in found]
        # All of a batch in one go: from a GPU each copy of its own waits for everything before it.
        of_found = [getattr(each, name) for each in found for name in _FIELDS]
        copied = iter(_on_cpu([*of_found, *boxes, *batch.crop_to_image]))
        instances = [PoseInstances(**{name: next(copied) for name in _FIELDS}) for _ in found]
        boxes = [next(copied) for _ in found]
        return [
            _prediction(key, each, box, crop_to_image)
            for key, each, box, crop_to_image in zip(batch.keys, instances, boxes, copied, strict=True)
        ]

    def log_losses(self, losses: Mapping[str, Tensor], split: str, count: int) -> Tensor:
        """Take each term and their sum over `count` samples into the epoch's means, and return the sum."""
        total = torch.stack(list(losses.values())).sum()
        named = {f"{split}/loss": total, **{f"{split}/loss_{name}": value for name, value in losses.items()}}
        values = {name: value.detach() for name, value in named.items()}
        if split == "train":
            self.running.add(values, count)
        else:
            self.validation_losses.append(BatchLosses(self.validating, values, count))
        return total

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After an epoch's last batch, its mean losses over all devices."""
        if self.trainer.is_last_batch or self.trainer.global_step == self.trainer.max_steps:
            means = mean_of(of_all_devices(self.running.as_dict()))
            self.log_dict(means, on_step=False, on_epoch=True, batch_size=1)
            self.running = RunningMeans()

    def on_validation_batch_start(self, batch: PoseBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.validating = batch.keys

    def on_validation_epoch_end(self) -> None:
        """Mean losses and figures over all frames of the validation set, each counted once, the same on every device."""
        shares = of_all_devices((self.validated, [losses.as_plain() for losses in self.validation_losses]))
        self.validated, self.validation_losses = [], []
        # A device that had one batch less has repeated a frame of the first, which comes before it here.
        predictions = {prediction.key: prediction for share, _ in reversed(shares) for prediction in share}
        seen: set[str] = set()
        means = RunningMeans()
        for keys, values, count in (batch for _, batches in shares for batch in batches):
            if not keys or not seen.issuperset(keys):
                means.add({name: torch.tensor(value) for name, value in values.items()}, count)
            seen.update(keys)
        in_order = [predictions[key] for key in self.labels if key in predictions]
        labels = [self.labels[prediction.key] for prediction in in_order]
        figures = figures_of(self.metrics, in_order, labels, self.skeleton)
        self.log_dict({**mean_of([means.as_dict()]), **{f"val/{name}": float(each) for name, each in figures.items()}})

    def configure_optimizers(self) -> Any:
        """The optimizer over what is not frozen, with its schedule over the whole run.

        Raises ConfigError for a run without an end.
        """
        if self.optimizer is None or self.scheduler is None:
            raise ValueError("This pipeline was built to predict: it has no optimizer.")
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ConfigError(
                "trainer: the schedule of learning rates needs a run with an end. Set trainer.max_epochs, or max_steps."
            )
        optimizer = self.optimizer([(name, weight) for name, weight in self.named_parameters() if weight.requires_grad])
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer, int(steps))}

    def freeze_unused_parameters(self) -> None:
        """Freeze weights that no answer depends on: devices that train together would wait for their gradients."""

    def compile_networks(self, backend: str) -> None:
        """Have torch compile what its batches go through; names of weights stay. Raises ConfigError where it cannot."""
        raise ConfigError(f"compile: the networks of {type(self).__name__} cannot be compiled. Take compile=false.")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What makes a checkpoint self-contained."""
        checkpoint["dlcpose"] = self.described
        checkpoint["running_losses"] = self.running.as_dict()  # of an epoch that is stopped in its midst

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the means of an epoch that was stopped in its midst."""
        self.running = RunningMeans.from_dict(checkpoint.get("running_losses", {}))


class PoseEstimator(PoseModule):
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
        scheduler: Callable[..., dict[str, Any]] | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__(
            model_input=model_input, skeleton=skeleton, optimizer=optimizer, scheduler=scheduler, metrics=metrics
        )
        self.backbone, self.neck, self.head = backbone, neck, head
        self.side_heads = nn.ModuleDict(dict(side_heads or {}))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(model_input.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(model_input.std)[:, None, None], persistent=False)

    @property
    def channels(self) -> int:
        """Of what its networks are shown."""
        return 3

    @property
    def finds(self) -> str:
        """What it finds, for the plan of a run."""
        return f"{len(self.skeleton)} keypoints, stride {self.head.stride:g}"

    def forward(self, images: Tensor) -> PoseMaps:
        """The heads' maps of normalised images (B, 3, H, W)."""
        features = self.neck(self.backbone(images))  # (B, C, h, w)
        return PoseMaps(self.head(features), tuple(beside(features) for beside in self._beside()))

    def compile_networks(self, backend: str) -> None:
        for network in (self.backbone, self.neck, self.head, *self.side_heads.values()):
            network.compile(backend=backend)

    def freeze_unused_parameters(self) -> None:
        smallest = self.model_input.multiple_of * max(1, SMALLEST // self.model_input.multiple_of)
        shown = self.network_input_size(self.model_input.canvas or (smallest, smallest))
        for name in unused_parameters(self, shown):
            self.get_parameter(name).requires_grad_(False)

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
        return self.decode_maps(batch, self.compute_maps(batch))

    def compute_maps(self, batch: PoseBatch) -> Any:
        return self(self.normalised(batch).images)

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        return self.predictions_in_image(batch, self.decode(maps))

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
        self.validated += self.predictions_in_image(batch, self.decode(maps))


_FIELDS = tuple(field.name for field in fields(PoseInstances))


def _on_cpu(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors as they are, on the CPU: those of one kind are copied there together."""
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return list(tensors)
    copied: dict[int, Tensor] = {}
    for dtype in {tensor.dtype for tensor in tensors}:
        places = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
        flat = torch.cat([tensors[place].detach().flatten() for place in places]).cpu()
        parts = torch.split(flat, [tensors[place].numel() for place in places])
        copied |= {place: part.view(tensors[place].shape) for place, part in zip(places, parts, strict=True)}
    return [copied[place] for place in range(len(tensors))]


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
        boxes_in_image=floats(transform_boxes(crop_to_image.expand(len(instances), 2, 3), boxes_in_crop)),
    )
