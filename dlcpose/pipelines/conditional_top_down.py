"""Each animal alone and asked for by a pose: what a bottom-up model found is the condition (Zhou et al. 2023, BUCTD)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dlcpose.codecs.boxes import clip_boxes, jitter_boxes, transform_points
from dlcpose.codecs.pose_conditions import rng_for_frame
from dlcpose.conditions.base import ConditionSource, PoseConditions
from dlcpose.detectors.base import Boxes, Detector
from dlcpose.detectors.pose_boxes import PoseDetector
from dlcpose.fusions.base import Fusion
from dlcpose.heads.base import Head
from dlcpose.metrics.base import Metric
from dlcpose.pipelines.base import PoseMaps
from dlcpose.pipelines.top_down import AnimalCrops, TopDown
from dlcpose.side_heads.base import SideHead
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import PoseInstances, PosePrediction
from dlcpose.structures.skeleton import Skeleton


@dataclass(frozen=True)
class ConditionalCrops(AnimalCrops):
    """Crops around conditions, with those."""

    conditions_in_crop: Tensor  # (M, K, 2) px, NaN where missing


class ConditionalTopDown(TopDown):
    """The crop around a pose is looked at together with that pose, and the answer is the animal it tells of.

    In prediction the poses are the detector's: those of a bottom-up model, or of a file. While training they come from
    `condition`. Other animals in a crop are not asked for, and where a pose tells of no animal, none is wanted: the
    answer to such a condition is one that nothing is sure of. An image without conditions has no animals.
    fusion: how the condition reaches the network. threshold: least score of a condition that is asked. The rest as in
    TopDown, about the boxes around conditions.
    Raises ConfigError for a detector that finds boxes alone, or none where `condition` needs poses.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        head: Head,
        *,
        fusion: Fusion,
        condition: ConditionSource,
        detector: Detector,
        model_input: Input,
        skeleton: Skeleton,
        side_heads: Mapping[str, SideHead] | None = None,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[..., dict[str, Any]] | None = None,
        metrics: Mapping[str, Metric] | None = None,
        height: int,
        width: int,
        margin: float = 0.25,
        min_size: float = 32.0,
        shift: float = 0.05,
        scale: float = 0.15,
        threshold: float = 0.05,
        nms_oks: float = 0.7,
        seed: int = 0,
    ) -> None:
        super().__init__(
            backbone,
            neck,
            head,
            detector=detector,
            model_input=model_input,
            skeleton=skeleton,
            side_heads=side_heads,
            optimizer=optimizer,
            scheduler=scheduler,
            metrics=metrics,
            height=height,
            width=width,
            margin=margin,
            min_size=min_size,
            shift=shift,
            scale=scale,
            threshold=threshold,
            nms_oks=nms_oks,
            seed=seed,
        )
        if not isinstance(detector, PoseDetector):
            raise ConfigError(
                f"detector: Conditioned asks for animals by their poses, {type(detector).__name__} finds boxes alone. "
                "Take detector=pose_boxes with detector.checkpoint= or detector.predictions=, or detector=perturbed_pose_boxes."
            )
        if condition.needs_poses and detector.needs_labels:
            raise ConfigError(
                f"condition: {type(condition).__name__} learns from poses that were found, {type(detector).__name__} finds "
                "none. Take detector=pose_boxes with detector.checkpoint= or detector.predictions=, or condition=generated."
            )
        self.fusion, self.condition = fusion, condition

    @property
    def channels(self) -> int:
        """Of what the network is shown: those of the image, then those of the drawn condition."""
        return 3 + self.fusion.channels

    @property
    def finds(self) -> str:
        """What it finds, for the plan of a run."""
        return f"{super().finds}, around {self._poses.origin}"

    @property
    def _poses(self) -> PoseDetector:
        return cast(PoseDetector, self.detector)

    def forward(self, images: Tensor) -> PoseMaps:
        """The heads' maps of normalised crops with their drawn conditions (M, 3 + channels of the condition, H, W)."""
        pixels, drawn = torch.split(images, [3, self.fusion.channels], dim=1)
        features = self.neck(self.fusion(self.backbone, pixels, drawn))  # (M, C, h, w)
        return PoseMaps(self.head(features), tuple(beside(features) for beside in self._beside()))

    def compile_networks(self, backend: str) -> None:
        self.fusion.compile_networks(self.backbone, backend)
        for network in (self.neck, self.head, *self.side_heads.values()):
            network.compile(backend=backend)

    def oracles(self) -> dict[str, Callable[[PoseBatch], list[PosePrediction]]]:
        """The conditions as they are: what looking again has gained."""
        return {"conditions": self.predict_conditions}

    def predict_batch(self, batch: PoseBatch) -> list[PosePrediction]:
        """The animals in each image, the surest first, asked for by the detector's poses."""
        return self.predict_conditioned(batch, self.find_conditions(batch))[0]

    def compute_maps(self, batch: PoseBatch, boxes: Sequence[Boxes] | None = None) -> Any:
        """The predictions themselves: the model behind the conditions has to decode its own maps in between."""
        return self.predict_batch(batch)

    def decode_maps(self, batch: PoseBatch, maps: Any) -> list[PosePrediction]:
        predictions: list[PosePrediction] = maps
        return predictions

    def find_conditions(self, batch: PoseBatch) -> list[PoseInstances]:
        """The detector's poses in each frame, in its pixels."""
        return self._poses.find(batch)

    def predict_conditions(self, batch: PoseBatch) -> list[PosePrediction]:
        """The detector's poses."""
        return self.predictions_in_image(batch, self.find_conditions(batch))

    def predict_conditioned(
        self, batch: PoseBatch, found: Sequence[PoseInstances]
    ) -> tuple[list[PosePrediction], list[Tensor]]:
        """The animals in each image, the surest first, asked for by these poses (in the frame's pixels).

        Beside the predictions, for each animal the place of its condition among those of its frame: (M,) each.
        """
        asked, boxes = zip(*(self._asked(instances, batch) for instances in found), strict=True)
        conditions = [each.keypoints_in_crop[kept] for each, kept in zip(found, asked, strict=True)]
        scores = torch.cat([each.scores[kept] for each, kept in zip(found, asked, strict=True)])
        crops = self._around(batch, list(boxes), torch.cat(conditions))
        animals = self._in_frame(self._found_in(crops), crops, scores, len(batch))
        chosen = [self._distinct(each) for each in animals]
        predictions = self.predictions_in_image(
            batch,
            [self._left(each, left) for each, left in zip(animals, chosen, strict=True)],
            [each[left] for each, left in zip(boxes, chosen, strict=True)],
        )
        return predictions, [kept[left] for kept, left in zip(asked, chosen, strict=True)]

    def training_step(self, batch: PoseBatch, batch_index: int) -> Tensor:
        """The loss of all crops of one batch."""
        # By place in the run, not by torch's generator: a resumed run goes on with the same numbers.
        place = (self.seed, self.current_epoch, batch_index, self.global_rank)
        rngs = [np.random.default_rng((*place, frame)) for frame in range(len(batch))]
        crops = self.training_crops(batch, rngs, np.random.default_rng(place))
        return self._step(self.shown(crops), "train")[0] if len(crops) else self._nothing_learned()

    def validation_step(self, batch: PoseBatch, batch_index: int) -> None:
        """The loss of all crops of one batch, and the poses in them for the epoch's figures.

        Conditions come from where they come from in training, each frame's the same in every epoch.
        """
        crops = self.training_crops(batch, [rng_for_frame(key, self.seed) for key in batch.keys])
        found = self.decode(self._step(self.shown(crops), "val")[1]) if len(crops) else []
        self.validated += self._answers(batch, found, crops)

    # ------------------------------------------------------------------------------------------------ to crops

    def training_crops(
        self, batch: PoseBatch, rngs: Sequence[np.random.Generator], jitter: np.random.Generator | None = None
    ) -> ConditionalCrops:
        """The crops around a labelled batch's conditions, labelled with the animals those tell of; jittered where asked."""
        with torch.no_grad():  # the model behind the conditions stays as it is
            conditions = self.condition.conditions(batch, self.find_conditions, rngs)
        boxes = self._boxes(conditions.keypoints_in_frame, batch)
        whole = ~boxes.isnan().any(dim=-1)
        conditions, boxes = PoseConditions(*(each[whole] for each in conditions)), boxes[whole]
        if jitter is not None:
            draws = torch.from_numpy(jitter.uniform(-1, 1, (len(boxes), 3))).to(boxes)
            boxes = jitter_boxes(boxes, draws, shift=self.shift, scale=self.scale)
        counts = conditions.owners.bincount(minlength=len(batch)).tolist()
        crops = self._around(batch, list(torch.split(boxes, counts)), conditions.keypoints_in_frame)
        labelled = self._labelled(crops, batch, conditions.animals)
        return ConditionalCrops(**{**vars(labelled), "conditions_in_crop": crops.conditions_in_crop})

    def _around(self, batch: PoseBatch, boxes: Sequence[Tensor], conditions_in_frame: Tensor) -> ConditionalCrops:
        crops = self.crops(batch, boxes)
        moved = transform_points(crops.frame_to_crop, conditions_in_frame)
        return ConditionalCrops(**vars(crops), conditions_in_crop=moved)

    def _asked(self, found: PoseInstances, batch: PoseBatch) -> tuple[Tensor, Tensor]:
        """Which poses are sure enough and have a place in the frame, (M,), and the boxes around them, (M, 4)."""
        boxes = self._boxes(found.keypoints_in_crop, batch)
        kept = ((found.scores >= self.threshold) & ~boxes.isnan().any(dim=-1)).nonzero()[:, 0]
        return kept, boxes[kept]

    def _boxes(self, keypoints_in_frame: Tensor, batch: PoseBatch) -> Tensor:
        """What lies in the frame of the box around each pose: (M, K, 2) -> (M, 4), NaN where nothing does."""
        unknown = keypoints_in_frame.new_full((len(keypoints_in_frame), 4), torch.nan)
        boxes = self.detector.rule(keypoints_in_frame, unknown)
        return clip_boxes(boxes, (batch.images.shape[-2], batch.images.shape[-1]))

    def shown(self, crops: AnimalCrops) -> PoseBatch:
        """What the network is shown of crops: the image, and behind it the drawn condition."""
        assert isinstance(crops, ConditionalCrops)
        batch = self.normalised(crops.batch)
        drawn = self.fusion.drawn(crops.conditions_in_crop, self.size)
        return replace(batch, images=torch.cat((batch.images, drawn.to(batch.images)), dim=1))
