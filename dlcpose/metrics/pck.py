"""PCK: the share of keypoints within a fraction of the animal's size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dlcpose.metrics.base import EvaluatedFrames, Metric
from dlcpose.metrics.figure_info import FigureInfo

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PercentageOfCorrectKeypoints(Metric):
    """`pck@0.05` and so on: the share, in [0, 1], of labeled keypoints predicted within that fraction of the size.

    The size is the longer side of the box around the animal's labeled keypoints; animals labeled at fewer than two
    places have none and are left out. Keypoints of false negatives, and missing ones, are not correct.
    """

    figures: ClassVar[Mapping[str, FigureInfo]] = {
        "pck@{}": FigureInfo(
            "PCK@{}",
            higher_is_better=True,
            note="share of labeled keypoints predicted within this fraction of the animal's size",
            headline=True,
        )
    }

    fractions: Sequence[float] = (0.05, 0.1)

    def __call__(self, frames: EvaluatedFrames) -> dict[str, float]:
        """The figures, NaN where no animal has a size."""
        matched = frames.matched
        return {
            f"pck@{fraction:g}": share_within(fraction, matched.errors, matched.labeled, matched.sizes)
            for fraction in self.fractions
        }


def share_within(fraction: float, errors: Array, labeled: Array, sizes: Array) -> float:
    """The share of labeled keypoints whose error is at most `fraction` of their animal's size.

    errors: (A, K) pixels, NaN where not predicted. labeled: (A, K) bool. sizes: (A,) pixels, NaN leaves the animal
    out.
    """
    counted = labeled & ~np.isnan(sizes)[:, None]  # (A, K)
    correct = errors <= fraction * sizes[:, None]  # NaN is never correct
    return float(correct[counted].mean()) if counted.any() else float("nan")
