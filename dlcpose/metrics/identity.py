"""How often an animal that was found is taken for the right individual."""

from collections.abc import Sequence
from dataclasses import dataclass

from dlcpose.metrics.matching import match_frames
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton


@dataclass(frozen=True)
class IdentityAccuracy:
    """`identity_accuracy`: of the found animals whose individual is known, the share that was named rightly.

    An animal that was found but left nameless counts as wrong. NaN where the model names nobody or nobody is known.
    """

    def __call__(
        self, predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton
    ) -> dict[str, float]:
        """The figure, in [0, 1]."""
        pairs = match_frames(predictions, labels, skeleton)
        asked = pairs.matched & (pairs.identities >= 0)
        names_somebody = any((prediction.identities >= 0).any() for prediction in predictions)
        right = pairs.identities[asked] == pairs.found_identities[asked]
        return {"identity_accuracy": float(right.mean()) if names_somebody and asked.any() else float("nan")}
