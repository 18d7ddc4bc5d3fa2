"""Distance of predicted from labeled keypoints, in pixels of the source image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dlcpose.metrics.base import EvaluatedFrames, Metric
from dlcpose.metrics.figure_info import FigureInfo

Array = npt.NDArray[Any]
SHIFT_NOTE = "median of predicted − labeled; far from 0, two conventions for coordinates meet somewhere"


@dataclass(frozen=True)
class PixelError(Metric):
    """`mean_error_px` (DeepLabCut's "RMSE"), `median_error_px`, `rmse_px` over labeled keypoints of matched animals.

    `shift_x_px` and `shift_y_px` are the medians of predicted − labeled: far from 0, two conventions for coordinates
    meet somewhere, in the labels or after them.
    confidence: the same for keypoints with at least this score, as `mean_error_px@0.6` and `rmse_px@0.6`, and
    `kept@0.6`, the share of all labeled keypoints that these are. False negatives have no error: see
    `false_negatives`, or PCK, where they count. Where the skeleton has unique keypoints, their mean error is
    `unique_error_px`.
    """

    figures: ClassVar[Mapping[str, FigureInfo]] = {
        "mean_error_px": FigureInfo(
            *("mean error", "px", 2, False, "mean distance from the label; DeepLabCut calls it RMSE"),
            headline=True,
            curve="error (px)",
        ),
        "mean_error_px@{}": FigureInfo("mean error above score {}", "px", 2, False),
        "median_error_px": FigureInfo(
            "median error", "px", 2, False, "half of the keypoints are nearer than this", curve="error (px)"
        ),
        "rmse_px": FigureInfo("root mean square error", "px", 2, False, "outliers weigh more than in the mean"),
        "rmse_px@{}": FigureInfo("root mean square error above score {}", "px", 2, False),
        "shift_x_px": FigureInfo("shift to the right", "px", 2, note=SHIFT_NOTE),
        "shift_y_px": FigureInfo("shift downwards", "px", 2, note=SHIFT_NOTE),
        "kept@{}": FigureInfo(
            "share of keypoints above score {}", note="of all labeled keypoints, those predicted with that score"
        ),
        "unique_error_px": FigureInfo(
            "mean error of unique keypoints", "px", 2, False, "keypoints of the arena, which belong to no animal"
        ),
    }

    confidence: float = 0.6

    def __call__(self, frames: EvaluatedFrames) -> dict[str, float]:
        """The figures, NaN where there is no keypoint to measure."""
        matched = frames.matched
        errors, confident = matched.errors, matched.scores >= self.confidence  # (A, K) each
        offsets = matched.pred_in_image - matched.gt_in_image  # (A, K, 2)
        cut = f"@{self.confidence:g}"
        figures = {
            "mean_error_px": mean(errors),
            "median_error_px": median(errors),
            "rmse_px": root_mean_square(errors),
            "shift_x_px": median(offsets[..., 0]),
            "shift_y_px": median(offsets[..., 1]),
            f"mean_error_px{cut}": mean(errors[confident]),
            f"rmse_px{cut}": root_mean_square(errors[confident]),
            f"kept{cut}": mean(confident[matched.labeled]),
        }
        return figures | ({"unique_error_px": mean(matched.unique_errors)} if frames.skeleton.unique else {})


def mean(values: Array) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def median(values: Array) -> float:
    """The median of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def root_mean_square(values: Array) -> float:
    """The root of the mean square of the values that are not NaN; NaN if there are none."""
    return float(np.sqrt(mean(values**2)))
