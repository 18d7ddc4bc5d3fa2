"""How far keypoints lie from their labels, in pixels of the source image."""

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
class PixelError:
    """`mean_error_px` (DeepLabCut's "RMSE"), `median_error_px`, `rmse_px` over the labelled keypoints of found animals.

    `shift_x_px` and `shift_y_px` are the medians of found − labelled: far from 0, two conventions for coordinates meet
    somewhere, in the labels or after them.
    confidence: the same for keypoints with at least this score, as `mean_error_px@0.6` and `rmse_px@0.6`, and
    `kept@0.6`, the share of all labelled keypoints that these are. Missed animals have no error: see `missed`, or PCK,
    where they count. Where the skeleton has points of the arena, their mean error is `unique_error_px`.
    """

    confidence: float = 0.6

    def __call__(
        self, predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton
    ) -> dict[str, float]:
        """The figures, NaN where there is no keypoint to measure."""
        pairs = match_frames(predictions, labels, skeleton)
        errors, confident = pairs.errors, pairs.scores >= self.confidence  # (A, K) each
        apart = pairs.pred_in_image - pairs.gt_in_image  # (A, K, 2)
        cut = f"@{self.confidence:g}"
        figures = {
            "mean_error_px": mean(errors),
            "median_error_px": median(errors),
            "rmse_px": root_mean_square(errors),
            "shift_x_px": median(apart[..., 0]),
            "shift_y_px": median(apart[..., 1]),
            f"mean_error_px{cut}": mean(errors[confident]),
            f"rmse_px{cut}": root_mean_square(errors[confident]),
            f"kept{cut}": mean(confident[pairs.labelled]),
        }
        return figures | ({"unique_error_px": mean(pairs.unique_errors)} if skeleton.unique else {})


def mean(values: Array) -> float:
    """The mean of what is not NaN, NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def median(values: Array) -> float:
    """The median of what is not NaN, NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def root_mean_square(values: Array) -> float:
    """The root of the mean square of what is not NaN, NaN of nothing."""
    return float(np.sqrt(mean(values**2)))
