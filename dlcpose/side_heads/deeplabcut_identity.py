"""DeepLabCut 3's identity head: a map per individual, read at each animal's keypoints."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.affine import cells_from_pixels, length_in_cells
from dlcpose.layers.unpadded_deconv import UnpaddedDeconvolutions
from dlcpose.side_heads.base import SideHead
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances


class DeepLabCutIdentityMaps(NamedTuple):
    """Predictions before the sigmoid, or targets in [0, 1]."""

    logits: Tensor  # (B, I, h, w)


class DeepLabCutIdentityHead(SideHead):
    """DeepLabCut 3's `identity` head, whose snapshots it reads: the same maps, and the same identities from them.

    individuals: their names. kernels, strides, channels, final_kernel: as in UnpaddedDeconvolutions. radius: of the
    target disc around each keypoint of an individual, input pixels. weight: of the loss.
    """

    def __init__(
        self,
        in_channels: int,
        stride: float,
        individuals: Sequence[str],
        *,
        kernels: Sequence[int] = (3,),
        strides: Sequence[int] = (2,),
        channels: Sequence[int] = (),
        final_kernel: int = 0,
        radius: float = 17.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        if len(individuals) < 2:
            raise ValueError("the data has no identities of two individuals or more; take side_head=none")
        self.individuals, self.weight, self.feature_stride = len(individuals), weight, stride
        self.layers = UnpaddedDeconvolutions(
            in_channels,
            len(individuals),
            kernels=kernels,
            strides=strides,
            channels=channels,
            final_kernel=final_kernel,
        )
        self.stride = stride / self.layers.stride
        self.radius_in_map = length_in_cells(radius, self.stride)

    def forward(self, features: Tensor) -> DeepLabCutIdentityMaps:
        """Predictions from features (B, C, h, w)."""
        return DeepLabCutIdentityMaps(self.layers(features).float())

    def encode(self, batch: PoseBatch) -> DeepLabCutIdentityMaps:
        """Discs around the keypoints of each individual."""
        sides = (math.ceil(side / self.feature_stride) for side in batch.images.shape[-2:])
        height, width = (self.layers.length(side) for side in sides)
        points = cells_from_pixels(batch.keypoints_in_crop - 0.5, self.stride)  # (B, N, K, 2)
        ys = torch.arange(height, device=points.device, dtype=points.dtype)[:, None]
        xs = torch.arange(width, device=points.device, dtype=points.dtype)
        discs = points.new_zeros((len(batch), self.individuals, height, width))
        for place in points.unbind(dim=2):  # (B, N, 2): one keypoint at a time, so memory does not grow with them
            squared = (xs - place[..., 0, None, None]) ** 2 + (ys - place[..., 1, None, None]) ** 2
            inside = (squared <= self.radius_in_map**2).to(points.dtype)  # (B, N, h, w), 0 for NaN
            for disc, identity in zip(inside.unbind(1), batch.identities.unbind(1), strict=True):
                known = identity >= 0
                discs[known, identity[known]] = discs[known, identity[known]].maximum(disc[known])
        return DeepLabCutIdentityMaps(discs)

    def loss(self, maps: DeepLabCutIdentityMaps, targets: DeepLabCutIdentityMaps) -> dict[str, Tensor]:
        """Mean binary cross entropy."""
        return {"identity": self.weight * functional.binary_cross_entropy_with_logits(maps.logits, targets.logits)}

    def complete(self, instances: Sequence[PoseInstances], maps: DeepLabCutIdentityMaps) -> list[PoseInstances]:
        """Each image's animals with identities, no two the same."""
        size = [int(side * self.stride) for side in maps.logits.shape[-2:]]
        resized = functional.interpolate(maps.logits, size, mode="bilinear", align_corners=False, antialias=True)
        return [
            replace(animals, identities=self._identities(animals, probabilities))
            for animals, probabilities in zip(instances, resized.sigmoid(), strict=True)
        ]

    def _identities(self, animals: PoseInstances, probabilities: Tensor) -> Tensor:
        """(M,), from probabilities (I, H, W)."""
        height, width = probabilities.shape[-2:]
        places = animals.keypoints_in_crop.nan_to_num(0.0).round().long()  # (M, K, 2)
        x, y = places[..., 0].clamp(0, width - 1), places[..., 1].clamp(0, height - 1)
        scores = animals.keypoint_scores * ~animals.keypoints_in_crop.isnan().any(dim=-1)  # (M, K)
        evidence = (probabilities[:, y, x] * scores).mean(dim=-1).T  # (M, I)
        # In DeepLabCut missing animals have coordinates and scores of −1, and are assigned too.
        missing = max(0, self.individuals - len(animals))
        evidence = torch.cat((evidence, -probabilities[:, 0, 0].expand(missing, -1)))
        rows, columns = linear_sum_assignment(evidence.detach().cpu().numpy(), maximize=True)
        identities = np.full(len(evidence), -1, np.int64)
        identities[rows] = columns
        return torch.from_numpy(identities[: len(animals)]).to(animals.identities.device)
