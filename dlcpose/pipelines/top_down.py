"""Each animal alone: a detector's boxes are cut out, and a head for one animal looks at every crop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dlcpose.codecs.boxes import compose_affine, crops_around, jitter_boxes, transform_boxes, transform_points
from dlcpose.codecs.crop_images import crop_images
from dlcpose.codecs.pose_nms import pose_nms, pose_similarity
from dlcpose.detectors.base import Boxes, Detector
from dlcpose.heads.base import Head
from dlcpose.metrics.base import Metric
from dlcpose.pipelines.base import PoseEstimator, PoseMaps
from dlcpose.side_heads.base import SideHead
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PoseInstances, PosePrediction, instances_of
from dlcpose.structures.skeleton import Skeleton

AT_ONCE = 64  # crops that go through the network together in prediction: memory does not grow with the animals


@dataclass(frozen=True)
class AnimalCrops:
    """What is cut out of the frames of a batch, one animal each, and where it was."""

    batch: PoseBatch  # of M crops
    owners: Tensor  # (M,) index of the frame
    frame_to_crop: Tensor  # (M, 2, 3) float64
    crop_to_frame: Tensor  # (M, 2, 3) float64

    def __len__(self) -> int:
        return len(self.owners)

    def split(self, count: int) -> list[Self]:
        """The crops, `count` at a time."""
        parts = torch.split(torch.arange(len(self)), count)
        return [
            replace(self, **{field.name: _rows(getattr(self, field.name), part) for field in fields(self)})
            for part in parts
        ]


class CropMaps(NamedTuple):
    """What the networks of a top-down model make of a batch."""

    boxes: tuple[Boxes, ...]  # of each frame
    crops: AnimalCrops
    maps: tuple[PoseMaps, ...]  # of AT_ONCE crops each


class TopDown(PoseEstimator):
    """A detector's boxes, cut out of the frames on the device; the head is shown one animal at a time.

    Backbone, neck and head learn in the true boxes, moved and resized by chance as a detector would miss; the detector
    is trained before and stays as it is. Other animals that show in a crop are not asked for.
    height, width: of a crop, px. margin: how much wider than the box it is on each side, as a share of the box's longer
    side. smallest: what a crop's longer side shows at least, px of the frame. shift, scale: of the chance, see
    `codecs.boxes.jittered`. threshold: least score of a box whose pose is asked for. duplicate: two poses with this OKS
    or more are one animal. seed: of the chance.
    """

    one_animal_per_crop: ClassVar[bool] = True

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        head: Head,
        *,
        detector: Detector,
        model_input: Input,
        skeleton: Skeleton,
        side_heads: Mapping[str, SideHead] | None = None,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[..., dict[str, Any]] | None = None,
        metrics: Mapping[str, Metric] | None = None,
        height: int,
        width: int,
        margin: float = 0.15,
        min_size: float = 32.0,
        shift: float = 0.1,
        scale: float = 0.25,
        threshold: float = 0.3,
        nms_oks: float = 0.7,
        seed: int = 0,
    ) -> None:
        super().__init__(
            backbone,
            neck,
            head,
            model_input=model_input,
            skeleton=skeleton,
            side_heads=side_heads,
            optimizer=optimizer,
            scheduler=scheduler,
            metrics=metrics,
        )
        amounts = {"margin": margin, "shift": shift, "scale": scale, "min_size": min_size - 1}
        if wrong := [name for name, amount in amounts.items() if amount < 0]:
            raise ValueError(
                f"expected 0 or more for margin, shift and scale, 1 or more for smallest; wrong is {wrong[0]}"
            )
        self.detector = detector.requires_grad_(False)
        self.size, self.margin, self.min_size = (height, width), margin, min_size
        self.shift, self.scale, self.seed = shift, scale, seed
        self.threshold, self.nms_oks = threshold, nms_oks
        self.train()

    @classmethod
    def head_canvas(cls, model_input: Input, settings: Mapping[str, Any]) -> tuple[int, int]:
        """(height, width) of a crop. Raises ConfigError where the backbone cannot read that."""
        size, multiple = (settings.get("height"), settings.get("width")), model_input.multiple_of
        if any(type(side) is not int or side <= 0 or side % multiple for side in size):
            raise ConfigError(
                f"pipeline.height and pipeline.width: expected multiples of {multiple}, which this backbone needs, "
                f"got {size[0]} and {size[1]}."
            )
        return cast(tuple[int, int], size)

    def network_input_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """That of a crop."""
        return self.size

    @property
    def finds(self) -> str:
        """What it finds, for the plan of a run."""
        without = ", without the points of the arena" if self.skeleton.unique else ""  # no crop is sure to show them
        return f"{super().finds}, in crops of {self.size[1]}x{self.size[0]}{without}"

    @property
    def needs_labels(self) -> bool:
        """Whether it predicts only in labelled images."""
        return self.detector.needs_labels

    def train(self, mode: bool = True) -> "TopDown":
        """Training mode, but for the detector."""
        super().train(mode)
        if hasattr(self, "detector"):  # the constructor of the base comes before it
            self.detector.eval()
        return self

    def oracles(self) -> dict[str, Callable[[PoseBatch], list[PosePrediction]]]:
        """The true boxes: what is left to gain by a better detector."""
        return {} if self.detector.needs_labels else {"true_boxes": self.predict_in_gt_boxes}

    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """The animals in each image, the surest first, with the detector's boxes."""
        return self.decode_maps(batch, self.compute_maps(batch))

    def compute_maps(self, batch: PoseBatch, boxes: Sequence[Boxes] | None = None) -> Any:
        """The maps of all animals' crops; boxes: those of each frame, where the detector is not to be asked."""
        if boxes is None:
            boxes = [
                Boxes(found[scores >= self.threshold], scores[scores >= self.threshold])
                for found, scores in self.detector.detect(batch)
            ]
        crops = self.crops(batch, [each.boxes_in_frame for each in boxes])
        maps = [self(self.shown(some).images) for some in crops.split(AT_ONCE)] if len(crops) else []
        return CropMaps(tuple(boxes), crops, tuple(maps))

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        boxes, crops, _ = maps
        scores = torch.cat([each.scores for each in boxes])
        found = [each for some in maps.maps for each in self.decode(some)]
        animals = self._in_frame(found, crops, scores, len(batch))
        chosen = [self._distinct(each) for each in animals]
        return self.predictions_in_image(
            batch,
            [self._left(each, left) for each, left in zip(animals, chosen, strict=True)],
            [each.boxes_in_frame[left] for each, left in zip(boxes, chosen, strict=True)],
        )

    def predict_in_gt_boxes(self, batch: PoseBatch) -> list[PosePrediction]:
        """The labelled animals' poses in their true boxes; boxes_in_image stays NaN, for no detector spoke."""
        crops = self.gt_crops(batch)
        return self._answers(batch, self._found_in(crops), crops)

    def training_step(self, batch: PoseBatch, batch_index: int) -> Tensor:
        """The loss of all crops of one batch."""
        # By place in the run, not by torch's generator: a resumed run goes on with the same numbers.
        rng = np.random.default_rng((self.seed, self.current_epoch, batch_index, self.global_rank))
        crops = self.gt_crops(batch, rng)
        if not len(crops):
            return self._nothing_learned()
        return self._step(self.shown(crops), "train")[0]

    def _nothing_learned(self) -> Tensor:
        """The loss where there is nobody to learn from."""
        # All weights still take part, or several devices would wait for each other.
        return torch.stack([weight.sum() for weight in self.parameters() if weight.requires_grad]).sum() * 0.0

    def validation_step(self, batch: PoseBatch, batch_index: int) -> None:
        """The loss of all crops of one batch, and the poses in true boxes for the epoch's figures.

        The detector stays as it is while poses are trained, so its boxes would add the same misses to every epoch.
        """
        crops = self.gt_crops(batch)
        found = self.decode(self._step(self.shown(crops), "val")[1]) if len(crops) else []
        self.validated += self._answers(batch, found, crops)

    # ------------------------------------------------------------------------------------------------ to crops

    def crops(self, batch: PoseBatch, boxes_in_frame: Sequence[Tensor]) -> AnimalCrops:
        """What is cut out around the boxes (M, 4) of each frame: one batch of all, unlabelled and not yet normalised."""
        boxes = torch.cat(list(boxes_in_frame))  # (M, 4)
        counts = torch.tensor([len(each) for each in boxes_in_frame], device=boxes.device)
        owners = torch.arange(len(counts), device=boxes.device).repeat_interleave(counts)
        frame_to_crop, crop_to_frame = crops_around(boxes, self.size, margin=self.margin, min_size=self.min_size)
        count, keypoints = len(boxes), len(self.skeleton)
        crops = PoseBatch(
            keys=tuple(batch.keys[owner] for owner in owners.tolist()),
            images=crop_images(batch.images, owners, crop_to_frame, self.size),
            keypoints_in_crop=boxes.new_full((count, 1, keypoints, 2), torch.nan),
            visibility=torch.zeros((count, 1, keypoints), dtype=torch.int64, device=boxes.device),
            boxes_in_crop=transform_boxes(frame_to_crop, boxes)[:, None],
            areas=boxes.new_full((count, 1), torch.nan),
            identities=torch.full((count, 1), -1, device=boxes.device),
            unique_in_crop=boxes.new_zeros((count, 0, 2)),
            crop_to_image=compose_affine(batch.crop_to_image[owners], crop_to_frame),
        )
        return AnimalCrops(crops, owners, frame_to_crop, crop_to_frame)

    def gt_crops(self, batch: PoseBatch, rng: np.random.Generator | None = None) -> AnimalCrops:
        """The crops of all animals with a labelled keypoint and a box in the frame, labelled; jittered where by chance."""
        all_boxes = self.detector.gt_boxes(batch)  # (B, N, 4)
        labelled = ~batch.keypoints_in_crop.isnan().any(dim=-1).all(dim=-1) & ~all_boxes.isnan().any(dim=-1)  # (B, N)
        boxes = all_boxes[labelled]  # (M, 4)
        if rng is not None:
            draws = torch.from_numpy(rng.uniform(-1, 1, (len(boxes), 3))).to(boxes)
            boxes = jitter_boxes(boxes, draws, shift=self.shift, scale=self.scale)
        crops = self.crops(batch, torch.split(boxes, labelled.sum(dim=1).tolist()))
        return self._labelled(crops, batch, labelled.nonzero(as_tuple=True)[1])

    def _labelled(self, crops: AnimalCrops, batch: PoseBatch, animals: Tensor) -> AnimalCrops:
        """Crops with the labels of one animal each: animals (M,) are places in its frame, −1 for none."""
        owners, background = crops.owners, animals < 0
        keypoints = batch.keypoints_in_crop[owners, animals].masked_fill(background[:, None, None], torch.nan)
        areas = batch.areas[owners, animals].masked_fill(background, torch.nan)
        labels = replace(
            crops.batch,
            keypoints_in_crop=transform_points(crops.frame_to_crop, keypoints)[:, None],
            visibility=batch.visibility[owners, animals].masked_fill(background[:, None], 0)[:, None],
            areas=(areas * crops.frame_to_crop[:, 0, 0].float() ** 2)[:, None],
            identities=batch.identities[owners, animals].masked_fill(background, -1)[:, None],
        )
        return replace(crops, batch=labels)

    def shown(self, crops: AnimalCrops) -> PoseBatch:
        """What the network is shown of crops."""
        return self.normalised(crops.batch)

    # ------------------------------------------------------------------------------------------------ and back

    def _found_in(self, crops: AnimalCrops) -> list[PoseInstances]:
        """What the head finds in each crop."""
        found: list[PoseInstances] = []
        if len(crops):
            for some in crops.split(AT_ONCE):
                found += self.decode(self(self.shown(some).images))
        return found

    def _answers(self, batch: PoseBatch, found: Sequence[PoseInstances], crops: AnimalCrops) -> list[PosePrediction]:
        certain = torch.ones(len(crops), device=crops.owners.device)
        return self.predictions_in_image(batch, self._in_frame(found, crops, certain, len(batch)))

    def _in_frame(
        self, found: Sequence[PoseInstances], crops: AnimalCrops, box_scores: Tensor, frames: int
    ) -> list[PoseInstances]:
        """The animals of each frame, one for each crop, in its pixels; an animal is as sure as its box and its pose are."""
        if not found:
            return [self._nobody(box_scores)] * frames
        surest = [
            _part(each, each.scores.argmax()[None]) if len(each) else self._nobody(each.scores, 1) for each in found
        ]
        points_in_frame = transform_points(crops.crop_to_frame, torch.cat([each.keypoints_in_crop for each in surest]))
        keypoint_scores = torch.cat([each.keypoint_scores for each in surest])
        scores = torch.cat([each.scores for each in surest]) * box_scores
        identities = torch.cat([each.identities for each in surest])
        of_frames = [crops.owners == frame for frame in range(frames)]
        return [
            instances_of(points_in_frame[mine], keypoint_scores[mine], scores[mine], identities=identities[mine])
            for mine in of_frames
        ]

    def _nobody(self, like: Tensor, count: int = 0) -> PoseInstances:
        """Animals without keypoints, none unless said otherwise."""
        shape = (count, len(self.skeleton))
        return instances_of(like.new_full((*shape, 2), torch.nan), like.new_zeros(shape), like.new_zeros(count))

    def _distinct(self, animals: PoseInstances) -> Tensor:
        """Which animals of a frame are left when poses that tell of one are one, the surest first: indices (M,)."""
        similarity = pose_similarity(animals.keypoints_in_crop, self.skeleton.sigmas)
        left = pose_nms(similarity, animals.scores, self.nms_oks)
        is_found = ~animals.keypoints_in_crop.isnan().any(dim=-1).all(dim=-1)
        return left[is_found[left]]

    def _left(self, animals: PoseInstances, indices: Tensor) -> PoseInstances:
        """Some of a frame's animals, the surest first."""
        return _named_once(_part(animals, indices))


def _rows(content: Any, indices: Tensor) -> Any:
    """Some of what belongs to crops one by one: tensors, names, or a batch of them."""
    if isinstance(content, Tensor):
        return content[indices.to(content.device)]
    if isinstance(content, tuple):
        return tuple(content[index] for index in indices.tolist()) if content else content
    return replace(content, **{field.name: _rows(getattr(content, field.name), indices) for field in fields(content)})


def _part(animals: PoseInstances, indices: Tensor) -> PoseInstances:
    return replace(
        animals,
        keypoints_in_crop=animals.keypoints_in_crop[indices],
        keypoint_scores=animals.keypoint_scores[indices],
        scores=animals.scores[indices],
        identities=animals.identities[indices],
    )


def _named_once(animals: PoseInstances) -> PoseInstances:
    """No two animals of a frame are one individual: the surest, which come first, keep the name."""
    names: list[int] = []
    for name in animals.identities.tolist():
        names.append(-1 if name in names else name)
    return replace(animals, identities=animals.identities.new_tensor(names))
