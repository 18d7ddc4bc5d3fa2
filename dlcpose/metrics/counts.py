"""How many animals there were, and how many were overlooked or made up."""

from collections.abc import Sequence
from dataclasses import dataclass

from dlcpose.metrics.pairing import pair_animals
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
        pairs = pair_animals(predictions, labels, skeleton)
        return {
            "images": len(labels),
            "animals": len(pairs.matched),
            "missed": int((~pairs.matched).sum()),
            "invented": int(pairs.invented.sum()),
        }
