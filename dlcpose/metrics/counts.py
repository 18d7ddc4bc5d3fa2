"""How many animals there were, and how many were overlooked or made up."""

from collections.abc import Sequence
from dataclasses import dataclass

from dlcpose.metrics.matching import match_frames
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton


@dataclass(frozen=True)
class Counts:
    """`images` and `animals` that were scored, `missed` labelled animals and `invented` ones, by `match_animals`."""

    def __call__(
        self, predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton
    ) -> dict[str, float]:
        """The figures, whole numbers."""
        pairs = match_frames(predictions, labels, skeleton)
        return {
            "images": len(labels),
            "animals": len(pairs.matched),
            "false_negatives": int((~pairs.matched).sum()),
            "false_positives": int(pairs.false_positives.sum()),
        }
