"""Side head for unique keypoints, which belong to the arena: a single-animal head applied to the arena."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from dlcpose.codecs.graph_steps import UniqueKeypoints
from dlcpose.heads.base import Head, Maps
from dlcpose.side_heads.base import SideHead
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton


class UniqueHead(SideHead):
    """A head for one animal, applied to the unique keypoints."""

    finds_unique: ClassVar[bool] = True

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Maps:
        """The head's predicted maps from features (B, C, h, w)."""
        return self.head(features)

    def encode(self, batch: PoseBatch) -> Maps:
        """The head's target maps of the unique keypoints."""
        return self.head.encode(replace(batch, keypoints_in_crop=batch.unique_in_crop[:, None]))

    def loss(self, maps: Maps, targets: Maps) -> dict[str, Tensor]:
        """The head's losses."""
        return self.head.loss(maps, targets)

    def complete(self, instances: Sequence[PoseInstances], maps: Maps) -> list[PoseInstances]:
        """Each image's animals, with the unique keypoints and their scores."""
        return _with_unique(instances, self.head.decode(maps))

    def complete_shown(
        self, instances: Sequence[PoseInstances], maps: Maps, shown: Sequence[tuple[int, int]]
    ) -> list[PoseInstances]:
        """The same, with keypoints that lie in what the image shows of its frame."""
        return _with_unique(instances, self.head.decode_shown(maps, shown))

    def graph_outputs(self, maps: Maps) -> dict[str, Tensor]:
        """The keypoints (B, U, 2) in input pixels, and their scores (B, U)."""
        return {f"unique_{name}": values for name, values in self.head.graph_outputs(maps).items()}

    def graph_step(self) -> UniqueKeypoints:
        """The keypoints as they are."""
        return UniqueKeypoints()


def _with_unique(instances: Sequence[PoseInstances], arenas: Sequence[PoseInstances]) -> list[PoseInstances]:
    return [
        replace(animals, unique_in_crop=arena.keypoints_in_crop[0], unique_scores=arena.keypoint_scores[0])
        for animals, arena in zip(instances, arenas, strict=True)
    ]


def unique_head(in_channels: int, stride: float, skeleton: Skeleton, *, head: Callable[..., Head]) -> UniqueHead | None:
    """A UniqueHead around `head`, which is built for the skeleton's unique keypoints; None where it has none.

    Raises ConfigError for a head that predicts several animals.
    """
    if not skeleton.unique:
        return None
    arena = Skeleton(names=skeleton.unique, pairs=skeleton.unique_pairs)
    built = head(in_channels=in_channels, stride=stride, skeleton=arena)
    if built.multi_animal:
        raise ConfigError(
            f"side_head.unique.head: {type(built).__name__} predicts several animals, but there is one arena. Take heatmap."
        )
    return UniqueHead(built)
