"""Steps from the outputs of an exported graph of tensors to animals.

A graph gives the same number of entries for every image. What depends on the image (how many animals, which keypoint
belongs to which) is done by steps, one after the other: the head's, then those of the side heads. Heads decode by the
same steps, so a graph's animals are the model's.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from dlcpose.codecs.oks import pairwise_oks, pose_nms
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.registry import Registry
from dlcpose.structures.skeleton import Skeleton

Outputs = Mapping[str, Tensor]


class GraphStep(ABC):
    """A step; its fields are plain values, which are saved in the file of the graph.

    outputs: that it reads, by name. finds_one_animal: whether it makes one animal of each image, always the same.
    finds_unique: whether it adds the unique keypoints.
    """

    finds_one_animal: ClassVar[bool] = False
    finds_unique: ClassVar[bool] = False

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs that it reads."""

    @abstractmethod
    def __call__(self, animals: Sequence[PoseInstances], outputs: Outputs) -> list[PoseInstances]:
        """The animals in each image after this step; a first step makes them, others add to them."""

    def check(self, skeleton: Skeleton) -> None:  # noqa: B027 - most have nothing to check
        """Raises ValueError where its settings are of another skeleton: the file of a graph may be somebody else's."""


GRAPH_STEPS: Registry[type[GraphStep]] = Registry(
    "dlcpose.graph_steps",
    (
        "dlcpose.codecs.graph_steps",
        "dlcpose.codecs.paf_assembly",
        "dlcpose.codecs.identities",
        "dlcpose.codecs.deeplabcut_poses",
    ),
)
graph_step = GRAPH_STEPS.register


@graph_step("single_animal")
@dataclass(frozen=True)
class SingleAnimal(GraphStep):
    """One animal in each image, of its keypoints (B, K, 2) in pixels of the input and their scores (B, K)."""

    finds_one_animal: ClassVar[bool] = True

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("keypoints", "keypoint_scores")

    def __call__(self, animals: Sequence[PoseInstances], outputs: Outputs) -> list[PoseInstances]:
        return [
            PoseInstances.from_keypoints(points[None], scores[None])
            for points, scores in zip(outputs["keypoints"], outputs["keypoint_scores"], strict=True)
        ]


@graph_step("unique_keypoints")
@dataclass(frozen=True)
class UniqueKeypoints(GraphStep):
    """The unique keypoints of each image (B, U, 2) and their scores (B, U), added to its animals."""

    finds_unique: ClassVar[bool] = True

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("unique_keypoints", "unique_keypoint_scores")

    def __call__(self, animals: Sequence[PoseInstances], outputs: Outputs) -> list[PoseInstances]:
        each = zip(animals, outputs["unique_keypoints"], outputs["unique_keypoint_scores"], strict=True)
        return [replace(found, unique_in_crop=points, unique_scores=scores) for found, points, scores in each]


@graph_step("pose_nms")
@dataclass(frozen=True)
class PoseNms(GraphStep):
    """Animals of candidate poses (B, P, K, 2), of which those are dropped that resemble one with a higher score.

    Beside the poses their keypoints' scores (B, P, K), and the candidates' (B, P) in falling order.
    threshold: minimum score of a candidate. nms_oks: of two poses with this OKS or more the one with the higher score is
    kept. min_area: px², of an animal. max_animals: per image. sigmas: of OKS, for each keypoint.
    """

    threshold: float
    nms_oks: float
    min_area: float
    max_animals: int
    sigmas: tuple[float, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("keypoints", "keypoint_scores", "scores")

    def check(self, skeleton: Skeleton) -> None:
        if len(self.sigmas) != len(skeleton):
            raise ValueError(f"expected a sigma for each of {len(skeleton)} keypoints, got {len(self.sigmas)}")

    def __call__(self, animals: Sequence[PoseInstances], outputs: Outputs) -> list[PoseInstances]:
        each = zip(outputs["keypoints"], outputs["keypoint_scores"], outputs["scores"], strict=True)
        return [
            self._kept(points[score >= self.threshold], point_scores[score >= self.threshold])
            for points, point_scores, score in each
        ]

    def _kept(self, keypoints_in_crop: Tensor, keypoint_scores: Tensor) -> PoseInstances:
        """One image's animals after pose NMS: of candidates (P, K, 2), (P, K)."""
        present = ~keypoints_in_crop.isnan().any(dim=-1)
        count = present.sum(dim=-1)
        scores = keypoint_scores.sum(dim=-1) / count.clamp(min=1)
        similarity = pairwise_oks(keypoints_in_crop, self.sigmas, self.min_area)
        kept = pose_nms(similarity, scores, self.nms_oks)
        kept = kept[count[kept] > 0][: self.max_animals]
        return PoseInstances.from_keypoints(keypoints_in_crop[kept], keypoint_scores[kept], scores[kept])
