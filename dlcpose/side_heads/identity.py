"""Identity side head: a probability map per individual, read at each animal's keypoints (Lauer et al. 2022)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlcpose.codecs.affine import cells_from_pixels, length_in_cells, size_in_cells
from dlcpose.codecs.identities import Identities
from dlcpose.codecs.offsets import MIN_RADIUS
from dlcpose.side_heads.base import SideHead
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PoseInstances


class IdentityMaps(NamedTuple):
    """Predictions and targets of an identity head."""

    probabilities: Tensor  # (B, I, h, w) in [0, 1], summing to 1 over I; NaN where unsupervised


class IdentityHead(SideHead):
    """One 1x1 convolution to a map per individual, supervised only around the keypoints of identified animals.

    individuals: their number. radius: distance from a keypoint within which its cells are supervised, input pixels, at
    least `codecs.offsets.MIN_RADIUS` cells. weight: of the loss.
    Unsupervised elsewhere, it separates individuals from each other, not from the background, which the poses' own maps
    do. DeepLabCut's identity head draws a disc for each individual's keypoints instead.
    """

    def __init__(self, in_channels: int, stride: float, *, individuals: int, radius: float, weight: float) -> None:
        super().__init__()
        self.stride, self.individuals, self.weight = stride, individuals, weight
        self.radius_in_map = length_in_cells(radius, stride, min_cells=MIN_RADIUS)
        self.layer = nn.Conv2d(in_channels, individuals, 1)

    def forward(self, features: Tensor) -> IdentityMaps:
        """Predicted probabilities from features (B, C, h, w)."""
        return IdentityMaps(self.layer(features).float().softmax(dim=1))

    def encode(self, batch: PoseBatch) -> IdentityMaps:
        """1 for the individual with the nearest keypoint, 0 for the others; NaN farther than the radius from all."""
        size = size_in_cells((batch.images.shape[-2], batch.images.shape[-1]), self.stride)
        points_in_map = cells_from_pixels(batch.keypoints_in_crop, self.stride)  # (B, N, K, 2)
        distances = _distances(points_in_map, size)  # (B, N, h, w)
        of_individual = distances.new_full((len(batch), self.individuals, *size), math.inf)
        for distance, identity in zip(distances.unbind(1), batch.identities.unbind(1), strict=True):
            known = identity >= 0
            of_individual[known, identity[known]] = of_individual[known, identity[known]].minimum(distance[known])
        nearest = of_individual.argmin(dim=1, keepdim=True)  # (B, 1, h, w)
        targets = torch.zeros_like(of_individual).scatter(1, nearest, 1.0)
        # Where an animal without identity is nearer, the cell may show that one: it is unsupervised.
        others = distances.masked_fill((batch.identities >= 0)[..., None, None], math.inf)
        unidentified = others.amin(dim=1, keepdim=True) if others.shape[1] else torch.full_like(nearest, 1) * math.inf
        nearest_distance = of_individual.amin(dim=1, keepdim=True)
        return IdentityMaps(
            targets.masked_fill((nearest_distance > self.radius_in_map) | (unidentified < nearest_distance), math.nan)
        )

    def loss(self, maps: IdentityMaps, targets: IdentityMaps) -> dict[str, Tensor]:
        """Mean cross entropy over the supervised cells."""
        supervised = ~targets.probabilities.isnan()
        target = targets.probabilities.nan_to_num(0.0)
        values = -target * maps.probabilities.clamp(min=1e-7).log()
        return {"identity": self.weight * values.sum() / supervised[:, 0].sum().clamp(min=1)}

    def complete(self, instances: Sequence[PoseInstances], maps: IdentityMaps) -> list[PoseInstances]:
        """Each image's animals with identities, no two the same: the most likely assignment; −1 for surplus animals."""
        return self.graph_step()(instances, self.graph_outputs(maps))

    def graph_outputs(self, maps: IdentityMaps) -> dict[str, Tensor]:
        """The probabilities (B, I, h, w)."""
        return {"identities": maps.probabilities.nan_to_num(1 / self.individuals)}

    def graph_step(self) -> Identities:
        """The most likely assignment."""
        return Identities(self.stride)


def identity_head(
    in_channels: int,
    stride: float,
    individuals: Sequence[str],
    *,
    radius: float = 12.0,
    weight: float = 0.1,
    required: bool = True,
) -> IdentityHead | None:
    """An IdentityHead for the data's individuals, or None where the data has no identities and it is not `required`.

    Raises ConfigError where it is required and the data has none.
    """
    if len(individuals) >= 2:
        return IdentityHead(in_channels, stride, individuals=len(individuals), radius=radius, weight=weight)
    if required:
        raise ConfigError(
            "side_head.identity: the data does not say which individual is which from frame to frame. For a DeepLabCut "
            "project set `identity: true` in its config.yaml, for rendered animals dataset.identity_marks=true; or take "
            "side_head=[unique]."
        )
    return None


def _distances(points_in_map: Tensor, size: tuple[int, int]) -> Tensor:
    """Distance of each cell to the nearest keypoint of each animal: (B, N, K, 2) cells -> (B, N, h, w), infinite if none."""
    ys = torch.arange(size[0], device=points_in_map.device, dtype=points_in_map.dtype)[:, None]
    xs = torch.arange(size[1], device=points_in_map.device, dtype=points_in_map.dtype)
    nearest = points_in_map.new_full((*points_in_map.shape[:2], *size), math.inf)
    for points in points_in_map.unbind(dim=2):  # (B, N, 2): one keypoint at a time, so memory does not grow with them
        squared = (xs - points[..., 0, None, None]) ** 2 + (ys - points[..., 1, None, None]) ** 2
        nearest = nearest.minimum(squared.nan_to_num(math.inf))
    return nearest.sqrt()
