"""Assign the animals of an image to individuals, by a map of probabilities for each individual."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dlcpose.codecs.affine import cells_from_pixels
from dlcpose.codecs.graph_steps import GraphStep, Outputs, graph_step
from dlcpose.codecs.peaks import sample_bilinear
from dlcpose.structures.instances import PoseInstances


def assign_identities(animals: PoseInstances, probabilities: Tensor, stride: float) -> PoseInstances:
    """An image's animals with identities, no two the same: the most likely assignment; −1 for surplus animals.

    probabilities: (I, h, w), read at the animals' keypoints. stride: input pixels per cell.
    """
    individuals = len(probabilities)
    points_in_map = cells_from_pixels(animals.keypoints_in_crop, stride)  # (M, K, 2)
    for_each = points_in_map.flatten(end_dim=1)[None, None].expand(1, individuals, -1, -1)
    sampled = sample_bilinear(probabilities[None], for_each)[0].view(individuals, *points_in_map.shape[:2])
    weights = animals.keypoint_scores * ~points_in_map.isnan().any(dim=-1)  # (M, K)
    evidence = (sampled * weights).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1e-6)  # (I, M)
    rows, columns = linear_sum_assignment(evidence.detach().cpu().numpy(), maximize=True)
    identities = np.full(len(animals), -1, np.int64)
    identities[columns] = rows
    return replace(animals, identities=torch.from_numpy(identities).to(animals.identities.device))


@graph_step("identities")
@dataclass(frozen=True)
class Identities(GraphStep):
    """Identities of each image's animals, from probabilities (B, I, h, w). stride: input pixels per cell of the maps."""

    stride: float

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("identities",)

    def __call__(self, animals: Sequence[PoseInstances], outputs: Outputs) -> list[PoseInstances]:
        return [
            assign_identities(found, probabilities, self.stride)
            for found, probabilities in zip(animals, outputs["identities"], strict=True)
        ]
