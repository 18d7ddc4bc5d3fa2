"""DeepLabCut's NMS of DEKR's poses."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dlcpose.codecs.graph_steps import GraphStep, Outputs, graph_step
from dlcpose.structures.instances import PoseInstances


@graph_step("deeplabcut_poses")
@dataclass(frozen=True)
class DeepLabCutPoses(GraphStep):
    """Animals of poses (B, P, K, 2) by falling score of their centers, and their keypoints' scores (B, P, K).

    As in DeepLabCut they come the other way round, the highest center last.
    nms_threshold: of two poses with a keypoint nearer to each other than this share of the second's size, the second is
    dropped, also by one that is dropped itself; None keeps all.
    """

    nms_threshold: float | None

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("keypoints", "keypoint_scores")

    def __call__(self, animals: Sequence[PoseInstances], outputs: Outputs) -> list[PoseInstances]:
        each = zip(outputs["keypoints"], outputs["keypoint_scores"], strict=True)
        return [self._kept(points, scores) for points, scores in each]

    def _kept(self, keypoints: Tensor, scores: Tensor) -> PoseInstances:
        """One image's poses (P, K, 2), (P, K) by falling score of their centers, without those that NMS drops."""
        known = ~keypoints.isnan().any(dim=-1).all(dim=-1)  # targets have no offsets where there is no animal
        keypoints, scores = keypoints[known], scores[known]
        if self.nms_threshold is not None and len(keypoints):
            lowest, highest = keypoints.nan_to_num(torch.inf).amin(dim=1), keypoints.nan_to_num(-torch.inf).amax(dim=1)
            extents = highest - lowest  # (P, 2)
            limits = self.nms_threshold * (extents**2).sum(dim=-1).clamp(min=1).sqrt()  # (P,)
            distances = torch.linalg.vector_norm(keypoints[:, None] - keypoints[None], dim=-1)  # (P, P, K)
            is_close = (distances < limits[None, :, None]).any(dim=-1)  # by the size of the second of a pair
            kept = ~is_close.triu(diagonal=1).any(dim=0)
            keypoints, scores = keypoints[kept], scores[kept]
        return PoseInstances.from_keypoints(keypoints.flip(0), scores.flip(0))
