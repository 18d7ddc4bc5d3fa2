"""Base classes of all models as LightningModules: shared training and validation steps, figures and checkpoints."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from dlcpose.backbones.base import Backbone
from dlcpose.codecs.graph_steps import GraphStep
from dlcpose.conditions.base import ConditionSource
from dlcpose.datasets.video_clips import BatchWithClips
from dlcpose.detectors.base import Boxes, BoxRule, Detector
from dlcpose.fusions.base import Fusion
from dlcpose.heads.base import Head, Maps
from dlcpose.metrics.base import EvaluatedFrames, figures_of
from dlcpose.necks.base import Neck
from dlcpose.optimizers.fused import fuse_on_cpu
from dlcpose.pipelines.animal_crops import CropSettings
from dlcpose.pipelines.clip_losses import clip_losses
from dlcpose.pipelines.components import Components, TrainingContext
from dlcpose.pipelines.epoch_record import EpochRecord
from dlcpose.pipelines.finite_values import DivergedError, check_outputs, first_not_finite, outputs_checked
from dlcpose.pipelines.predictions import predictions_in_image
from dlcpose.pipelines.unused_parameters import unused_parameters
from dlcpose.side_heads.base import SideHead
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PoseInstances, PosePrediction
from dlcpose.structures.skeleton import Skeleton
from dlcpose.unlabeled.video import VideoObjective

TRACING_SIDE = 64  # px of an image that finds unused parameters where the input has no size of its own


class PoseMaps(NamedTuple):
    """The output maps of a model's heads for a batch, or their targets."""

    animals: Maps  # of the head
    side_heads: tuple[Maps, ...]  # in the order of the side heads


class TakesConditions(Protocol):
    """A model that takes pose conditions: it predicts the animals in an image that the given poses belong to."""

    skeleton: Skeleton

    def detect_conditions(self, batch: PoseBatch) -> list[PoseInstances]:
        """The conditions that it finds itself in each image where none are given, in the frame's pixels."""

    def predict_with_conditions(
        self, batch: PoseBatch, conditions: Sequence[PoseInstances]
    ) -> tuple[list[PosePrediction], list[Tensor]]:
        """The animals in each image, and the place of each one's condition among those of its frame: (M,)."""


class PoseModule(LightningModule):
    """Base class of all models: losses and figures of an epoch, optimizer, checkpoint contents.

    groups: the config groups that a subclass is assembled from. one_animal_per_crop: whether the head sees one animal at a
    time, so that a head for one animal serves images of several. A subclass's constructor takes the components, and its
    own settings as keyword arguments. backbone, detector, fusion, condition: None where the model is made of none.
    labels, description, video_objective, pcutoff: as in TrainingContext; empty in a model that only predicts. rate_factor:
    of the optimizer's learning rates, for a batch that was chosen for the device. loaded_from: the file of its weights, for
    errors; None where they are of no file.

    `predict_batch(batch)` is always `decode_maps(batch, compute_maps(batch))`; images go through the one, videos through
    the other. A direct subclass overrides `predict_batch` alone, whose result then is the maps; a subclass of
    PoseEstimator overrides `compute_maps` and `decode_maps` alone.
    """

    groups: ClassVar[frozenset[str]] = frozenset()
    one_animal_per_crop: ClassVar[bool] = False
    backbone: Backbone | None
    detector: Detector | None
    fusion: Fusion | None
    condition: ConditionSource | None

    def __init__(self, components: Components) -> None:
        super().__init__()
        self.check_components(components)
        self.model_input, self.skeleton = components.model_input, components.skeleton
        self.optimizer, self.scheduler = components.optimizer, components.scheduler
        self.metrics = dict(components.metrics)
        of_groups = components.of_groups
        self.backbone, self.detector = of_groups.get("backbone"), of_groups.get("detector")
        self.fusion, self.condition = of_groups.get("fusion"), of_groups.get("condition")
        context = components.context or TrainingContext()
        self.labels, self.description = context.labels, context.description
        self.video_objective, self.pcutoff = context.video_objective, context.pcutoff
        self.epoch_record = EpochRecord()
        self.rate_factor = 1.0
        self.loaded_from: Path | None = None

    @classmethod
    def check_components(cls, components: Components) -> None:
        """Raises ConfigError where components do not fit each other, ValueError where one is missing."""

    @property
    def frame_input(self) -> Input:
        """The input that whole frames are brought to: the pose network's, or native size where it sees crops."""
        return self.model_input

    @property
    def may_crop_frames(self) -> bool:
        """Whether training frames may be random crops of `frame_input`'s canvas."""
        return False

    @property
    def needs_labels(self) -> bool:
        """Whether it predicts only in labeled images."""
        return False

    @property
    def finds_one_animal(self) -> bool:
        """Whether it finds one animal in a frame, always the same."""
        return False

    @property
    def finds_unique(self) -> bool:
        """Whether it looks for the skeleton's unique keypoints."""
        return False

    @property
    def fixed_precision(self) -> str | None:
        """The only precision that it can run in; None, as torch casts at run time."""
        return None

    @property
    def box_rule(self) -> BoxRule | None:
        """The rule for boxes around poses, where the model can predict in boxes from another source."""
        return None

    @property
    def named(self) -> str:
        """What errors of its outputs begin with: the file of its weights."""
        return "model" if self.loaded_from is None else str(self.loaded_from)

    def detected(self, batch: PoseBatch) -> list[Boxes]:
        """The detector's boxes in each frame. Raises CheckpointError, in a model that predicts, for those of broken weights.

        Training checks its losses and weights, and may recover.
        """
        detector: Any = self.detector
        with outputs_checked(detector.output_layers() if self.optimizer is None else (), f"{self.named}: its detector"):
            boxes: list[Boxes] = detector.detect(batch)
        return boxes

    @property
    def summary(self) -> str:
        """What the model predicts, as text for the plan of a run."""
        return counted(len(self.skeleton), "keypoint")

    @property
    def conditional(self) -> TakesConditions | None:
        """The model itself where it takes pose conditions, else None."""
        return None

    @property
    def estimator(self) -> "PoseEstimator | None":
        """The model itself where it predicts poses, else None."""
        return None

    def stages(self) -> tuple[str, ...]:
        """Names of the stages of training, each a run of its own; the last one trains this module."""
        return ("pose",)

    @abstractmethod
    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """The animals in each of a batch's uint8 images, in pixels of the source image."""

    def compute_maps(self, batch: PoseBatch) -> Any:
        """The first half of `predict_batch`, the networks' maps: the device can start on the next batch during decoding."""
        return self.predict_batch(batch)

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        """The second half of `predict_batch`: the animals decoded from the maps of `compute_maps`."""
        predictions: list[PosePrediction] = maps
        return predictions

    def oracles(self) -> dict[str, Callable[[PoseBatch], list[PosePrediction]]]:
        """By name, predictions of a labeled batch with a component replaced by ground truth: they show its errors."""
        return {}

    def predictions_in_image(
        self, batch: PoseBatch, instances: Sequence[PoseInstances], boxes_in_crop: Sequence[Tensor] | None = None
    ) -> list[PosePrediction]:
        """Decoded animals, and the boxes (M, 4) they were detected in, moved from the crop to the source image."""
        return predictions_in_image(batch, instances, boxes_in_crop)

    def log_losses(self, losses: Mapping[str, Tensor], split: str, count: int) -> Tensor:
        """Add the terms of `count` samples, and their sum, to the epoch's means; returns the sum.

        Raises DivergedError where one of training is not finite.
        """
        return self.epoch_record.add_losses(losses, split, count, self.global_step + 1)

    def on_train_batch_start(self, batch: PoseBatch, batch_idx: int) -> None:
        """Remember the batch for error messages."""
        self.epoch_record.keys = batch.keys

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After an epoch's last batch, log its mean losses over all devices."""
        if self.trainer.is_last_batch or self.trainer.global_step == self.trainer.max_steps:
            self.log_dict(self.epoch_record.end_training(), on_step=False, on_epoch=True, batch_size=1)

    def on_validation_batch_start(self, batch: PoseBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Remember the batch for error messages."""
        self.epoch_record.keys = batch.keys

    def on_validation_epoch_end(self) -> None:
        """Log mean losses and figures over all validation frames, each counted once and the same on every device."""
        means, predictions = self.epoch_record.end_validation()
        in_order = [predictions[key] for key in self.labels if key in predictions]
        labels = [self.labels[prediction.key] for prediction in in_order]
        frames = EvaluatedFrames(in_order, labels, self.skeleton, self.pcutoff)
        figures = figures_of(self.metrics, frames)
        self.log_dict({**means, **{f"val/{name}": float(each) for name, each in figures.items()}})

    def configure_optimizers(self) -> Any:
        """The optimizer over all parameters that are not frozen, with its schedule over the whole run.

        Raises ConfigError for a run without an end.
        """
        if self.optimizer is None or self.scheduler is None:
            raise ValueError("This model was built to predict: it has no optimizer.")
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ConfigError(
                "trainer: the schedule of learning rates needs a run that ends. Set trainer.max_epochs or trainer.max_steps."
            )
        weights = [(name, weight) for name, weight in self.named_parameters() if weight.requires_grad]
        optimizer = fuse_on_cpu(self.optimizer(weights))
        for group in optimizer.param_groups:
            group["lr"] *= self.rate_factor
        schedule = self.scheduler(optimizer, int(steps))
        if schedule.get("monitor", "").startswith("val/"):  # a rate that follows a figure follows it when it is there
            schedule = {**schedule, "frequency": self.trainer.check_val_every_n_epoch or 1}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def freeze_unused_parameters(self) -> None:
        """Freeze the parameters that no output depends on, for whose gradients distributed training would wait."""

    def compile_networks(self, backend: str) -> None:
        """Have torch compile the networks; names of weights stay. Raises ConfigError where they cannot be compiled."""
        raise ConfigError(f"compile: the networks of {type(self).__name__} cannot be compiled. Take compile=false.")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes a checkpoint self-contained. Raises DivergedError for weights that are not finite."""
        self.epoch_record.check_finite()
        if (name := first_not_finite(self, checkpoint["state_dict"])) is not None:
            raise DivergedError(
                f"training: {name} is not finite after step {self.global_step}, so it is not saved: the checkpoints are as "
                "they were before. Lower optimizer.lr."
            )
        checkpoint["dlcpose"] = dict(self.description)
        checkpoint["running_losses"] = self.epoch_record.unfinished()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the mean losses of an unfinished epoch."""
        self.epoch_record.resume(checkpoint.get("running_losses"))


class PoseEstimator(PoseModule):
    """A model of poses: backbone, neck, head and side heads. Subclasses add what stands between images and head."""

    groups: ClassVar[frozenset[str]] = frozenset({"backbone", "neck", "head", "side_head"})

    def __init__(self, components: Components) -> None:
        super().__init__(components)
        self.backbone: Backbone = components.required("backbone")
        self.neck: Neck = components.required("neck")
        self.head: Head = components.required("head")
        self.side_heads = nn.ModuleDict(dict(components.of_groups.get("side_head", {})))
        self.sized_for_input = bool(components.sized & {"head", "side_head"})
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(self.model_input.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(self.model_input.std)[:, None, None], persistent=False)

    @property
    def may_crop_frames(self) -> bool:
        """Unless a head has layers for one size of image."""
        return not self.sized_for_input

    @property
    def finds_unique(self) -> bool:
        """Whether one of its side heads looks for the unique keypoints."""
        return any(side_head.finds_unique for side_head in self._side_heads())

    @property
    def estimator(self) -> "PoseEstimator":
        """The model itself."""
        return self

    @property
    def crop_settings(self) -> CropSettings | None:
        """The settings of the crops that it sees, cut around a detector's boxes; None where it sees whole images."""
        return None

    @property
    def channels(self) -> int:
        """Channels of the images that `forward` takes."""
        return 3

    @property
    def summary(self) -> str:
        """What the model predicts, as text for the plan of a run."""
        return f"{super().summary}, stride {self.head.stride:g}"

    def forward(self, images: Tensor) -> PoseMaps:
        """The heads' output maps of normalized images (B, 3, H, W)."""
        features = self.neck(self.backbone(images))  # (B, C, h, w)
        return self._head_maps(features)

    def _head_maps(self, features: Tensor) -> PoseMaps:
        return PoseMaps(self.head(features), tuple(side_head(features) for side_head in self._side_heads()))

    def compile_networks(self, backend: str) -> None:
        """Have torch compile backbone, neck, head and side heads."""
        for network in (self.backbone, self.neck, self.head, *self.side_heads.values()):
            network.compile(backend=backend)

    def freeze_unused_parameters(self) -> None:
        """Freeze the parameters that no output depends on, for whose gradients distributed training would wait."""
        side = self.model_input.multiple_of * max(1, TRACING_SIDE // self.model_input.multiple_of)
        for name in unused_parameters(self, self.model_input.canvas or (side, side)):
            self.get_parameter(name).requires_grad_(False)

    def encode(self, batch: PoseBatch) -> PoseMaps:
        """The target maps of a batch."""
        return PoseMaps(self.head.encode(batch), tuple(side_head.encode(batch) for side_head in self._side_heads()))

    def losses(self, maps: PoseMaps, targets: PoseMaps) -> dict[str, Tensor]:
        """One scalar for each term of each head, named `term` or `side head_term`; training minimizes their sum."""
        losses = dict(self.head.loss(maps.animals, targets.animals))
        each = zip(self.side_heads, self._side_heads(), maps.side_heads, targets.side_heads, strict=True)
        for name, side_head, side_maps, side_targets in each:
            terms = side_head.loss(side_maps, side_targets)
            losses |= {f"{name}_{term}": value for term, value in terms.items()}
        return losses

    def decode(self, maps: PoseMaps) -> list[PoseInstances]:
        """The animals in each image, completed by the side heads."""
        instances = self.head.decode(maps.animals)
        for side_head, side_maps in zip(self._side_heads(), maps.side_heads, strict=True):
            instances = side_head.complete(instances, side_maps)
        return instances

    def decode_batch(self, batch: PoseBatch, maps: PoseMaps) -> list[PoseInstances]:
        """The same, where the maps are of whole images: what is padding holds no answer."""
        if set(batch.shown) <= {(batch.images.shape[-2], batch.images.shape[-1])}:
            return self.decode(maps)
        instances = self.head.decode_shown(maps.animals, batch.shown)
        for side_head, side_maps in zip(self._side_heads(), maps.side_heads, strict=True):
            instances = side_head.complete_shown(instances, side_maps, batch.shown)
        return instances

    def _checked(self, maps: PoseMaps) -> PoseMaps:
        """The maps of a model that predicts. Raises CheckpointError for what broken weights give.

        Training checks its losses and weights, and may recover from an epoch that finds nothing.
        """
        if self.optimizer is None:
            check_outputs(maps, self.named)
        return maps

    def graph_outputs(self, maps: PoseMaps) -> dict[str, Tensor]:
        """What an exported graph gives of the maps, by name. Raises ConfigError for a head that cannot be exported."""
        outputs = dict(self.head.graph_outputs(maps.animals))
        for side_head, side_maps in zip(self._side_heads(), maps.side_heads, strict=True):
            outputs |= side_head.graph_outputs(side_maps)
        return outputs

    def graph_steps(self) -> tuple[GraphStep, ...]:
        """The steps from a graph's outputs to animals, the same as `decode` from the maps."""
        return (self.head.graph_step(), *(side_head.graph_step() for side_head in self._side_heads()))

    def _side_heads(self) -> list[SideHead]:
        return cast(list[SideHead], list(self.side_heads.values()))

    def normalized(self, batch: PoseBatch) -> PoseBatch:
        """The batch with float images, (pixel / 255 - mean) / std, in memory format channels_last."""
        return replace(batch, images=self._normalized(batch.images))

    def _normalized(self, images: Tensor) -> Tensor:
        scaled = (images.float() / 255 - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """The animals in each of a batch's uint8 images, in pixels of the source image."""
        return self.decode_maps(batch, self.compute_maps(batch))

    def compute_maps(self, batch: PoseBatch) -> Any:
        return self(self.normalized(batch).images)

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        return self.predictions_in_image(batch, self.decode_batch(batch, self._checked(maps)))

    def _step(self, batch: PoseBatch, split: str) -> tuple[Tensor, PoseMaps]:
        maps = self(batch.images)
        losses = self.losses(maps, self.encode(batch))  # one scalar per name
        if split == "train" and self.video_objective is not None and isinstance(batch, BatchWithClips):
            losses |= self._clip_losses(batch, self.video_objective)
        return self.log_losses(losses, split, len(batch)), maps

    def _clip_losses(self, batch: BatchWithClips, objective: VideoObjective) -> dict[str, Tensor]:
        """What is learned from a batch's clips at this place in the run: nothing before the losses begin to count."""
        strength = objective.strength(self.global_step / max(1, int(self.trainer.estimated_stepping_batches)))
        if strength == 0:
            return {}
        images = self._normalized(batch.clips.flatten(end_dim=1))
        return clip_losses(self, images, len(batch.clips), objective, strength)

    def training_step(self, batch: PoseBatch, batch_index: int) -> Tensor:
        """The loss of one batch."""
        return self._step(self.normalized(batch), "train")[0]

    def validation_step(self, batch: PoseBatch, batch_index: int) -> None:
        """Keep the losses and predictions of one batch for the epoch's figures."""
        batch = self.normalized(batch)
        _, maps = self._step(batch, "val")
        self.epoch_record.val_predictions += self.predictions_in_image(batch, self.decode_batch(batch, maps))
