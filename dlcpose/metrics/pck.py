"""PCK: the share of keypoints found near enough, in units of the animal's size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.metrics.matching import match_frames
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PercentageOfCorrectKeypoints:
    """`pck@0.05` and so on: the share, in [0, 1], of labelled keypoints found within that fraction of the animal's size.

    The size is the longer side of the box around the animal's labelled keypoints; animals labelled at fewer than two
    places have none and are left out. Keypoints of missed animals, and ones not found, are not correct.
    """

    fractions: Sequence[float] = (0.05, 0.1)

    def __call__(
        self, predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton
    ) -> dict[str, float]:
        """The figures, NaN where no animal has a size."""
        pairs = match_frames(predictions, labels, skeleton)
        return {
            f"pck@{fraction:g}": share_within(fraction, pairs.errors, pairs.labelled, pairs.sizes)
            for fraction in self.fractions
        }


def share_within(fraction: float, errors: Array, labelled: Array, sizes: Array) -> float:
    """The share of labelled keypoints whose error is at most `fraction` of their animal's size.

    errors: (A, K) pixels, NaN where not found. labelled: (A, K) bool. sizes: (A,) pixels, NaN leaves the animal out.
    """
    counted = labelled & ~np.isnan(sizes)[:, None]  # (A, K)
    correct = errors <= fraction * sizes[:, None]  # NaN is never correct
    return float(correct[counted].mean()) if counted.any() else float("nan")
