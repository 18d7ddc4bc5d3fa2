"""Predicted poses of one image: in crop pixels as heads decode them (torch), in image pixels as predictions (NumPy)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Indices = npt.NDArray[Any] | Tensor | slice  # integers, or a mask


@dataclass(frozen=True)
class _Instances:
    """The M animals of one image, in fields that can be indexed and concatenated together."""

    PER_ANIMAL: ClassVar[tuple[str, ...]]  # the fields with an entry for each animal; the others belong to the image
    __iter__: ClassVar[None] = None  # a single index would not give instances, so they must not be iterated over

    def __len__(self) -> int:
        return len(getattr(self, self.PER_ANIMAL[0]))

    def __getitem__(self, indices: Indices) -> Self:
        """Some of the animals, in the order of `indices`: integers (M',), a mask (M,), or a slice."""
        return replace(self, **{name: getattr(self, name)[indices] for name in self.PER_ANIMAL})

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All animals of several parts; fields of the image are those of the first part. Raises ValueError for no parts."""
        if not parts:
            raise ValueError(f"expected one {cls.__name__} or more to concatenate, got none")
        each = {name: [getattr(part, name) for part in parts] for name in cls.PER_ANIMAL}
        return replace(parts[0], **{name: _concatenated(values) for name, values in each.items()})


def _concatenated(values: Sequence[Any]) -> Any:
    return torch.cat(list(values)) if isinstance(values[0], Tensor) else np.concatenate(list(values))


@dataclass(frozen=True)
class PoseInstances(_Instances):
    """The animals that a head decodes from one image of a batch, in pixels of the crop.

    keypoints_in_crop: (M, K, 2), NaN where a keypoint was not detected. keypoint_scores: (M, K) in [0, 1].
    scores: (M,) in [0, 1], of the animals. identities: (M,) index of the individual, -1 where it is not predicted.
    unique_in_crop: (U, 2) and unique_scores: (U,), the unique keypoints of the image.
    """

    PER_ANIMAL = ("keypoints_in_crop", "keypoint_scores", "scores", "identities")

    keypoints_in_crop: Tensor
    keypoint_scores: Tensor
    scores: Tensor
    identities: Tensor
    unique_in_crop: Tensor
    unique_scores: Tensor

    @classmethod
    def from_keypoints(
        cls,
        keypoints_in_crop: Tensor,
        keypoint_scores: Tensor,
        scores: Tensor | None = None,
        *,
        identities: Tensor | None = None,
        unique_in_crop: Tensor | None = None,
        unique_scores: Tensor | None = None,
    ) -> "PoseInstances":
        """Animals from their keypoints (M, K, 2) and the keypoints' scores (M, K); the rest has defaults.

        scores: the mean of the keypoints' unless given. Without identities they are -1, without unique keypoints U is 0.
        """
        like = keypoint_scores
        return cls(
            keypoints_in_crop=keypoints_in_crop,
            keypoint_scores=keypoint_scores,
            scores=keypoint_scores.mean(dim=-1) if scores is None else scores,
            identities=torch.full((len(like),), -1, device=like.device) if identities is None else identities,
            unique_in_crop=like.new_zeros((0, 2)) if unique_in_crop is None else unique_in_crop,
            unique_scores=like.new_zeros(0) if unique_scores is None else unique_scores,
        )

    @classmethod
    def without_keypoints(cls, scores: Tensor, keypoints: int) -> "PoseInstances":
        """Animals (M,) of which only the score is known: every keypoint NaN with a score of 0."""
        shape = (len(scores), keypoints)
        return cls.from_keypoints(scores.new_full((*shape, 2), torch.nan), scores.new_zeros(shape), scores)

    @property
    def has_keypoints(self) -> Tensor:
        """Which animals have one detected keypoint at least: (M,) bool."""
        return ~self.keypoints_in_crop.isnan().any(dim=-1).all(dim=-1)

    def sort_by_score(self) -> "PoseInstances":
        """The animals that have a keypoint, the highest score first."""
        order = self.scores.argsort(descending=True, stable=True)
        return self[order[self.has_keypoints[order]]]


@dataclass(frozen=True)
class PosePrediction(_Instances):
    """The animals predicted in one frame, in pixels of the source image, as NumPy arrays.

    key: the frame's name. keypoints_in_image: (M, K, 2), NaN where not detected. keypoint_scores: (M, K) in [0, 1].
    scores: (M,) in [0, 1]. identities: (M,) index of the individual, -1 where it is not predicted.
    unique_in_image: (U, 2), unique_scores: (U,). boxes_in_image: (M, 4) x1 y1 x2 y2, NaN without a detector.
    """

    PER_ANIMAL = ("keypoints_in_image", "keypoint_scores", "scores", "identities", "boxes_in_image")

    key: str
    keypoints_in_image: Floats
    keypoint_scores: Floats
    scores: Floats
    identities: Integers
    unique_in_image: Floats
    unique_scores: Floats
    boxes_in_image: Floats
