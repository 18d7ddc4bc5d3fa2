"""Identity accuracy: how often a detected animal is assigned to the right individual."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dlcpose.metrics.base import EvaluatedFrames, Metric
from dlcpose.metrics.figure_info import FigureInfo


@dataclass(frozen=True)
class IdentityAccuracy(Metric):
    """`identity_accuracy`: of the matched animals whose individual is labeled, the share with the right identity.

    A matched animal without a predicted identity counts as wrong. NaN where the model predicts no identities, or the
    data has none.
    """

    figures: ClassVar[Mapping[str, FigureInfo]] = {
        "identity_accuracy": FigureInfo(
            "identity accuracy",
            higher_is_better=True,
            note="of matched animals with a labeled identity, those with the right one",
        )
    }

    def __call__(self, frames: EvaluatedFrames) -> dict[str, float]:
        """The figure, in [0, 1]."""
        matched = frames.matched
        counted = matched.is_matched & (matched.gt_identities >= 0)
        predicts_identities = any((prediction.identities >= 0).any() for prediction in frames.predictions)
        correct = matched.gt_identities[counted] == matched.pred_identities[counted]
        return {"identity_accuracy": float(correct.mean()) if predicts_identities and counted.any() else float("nan")}
