"""Figures of each keypoint by itself."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.matching import MatchedAnimals
from dlcpose.metrics.pck import share_within
from dlcpose.metrics.pixel_error import mean, median, root_mean_square

Array = npt.NDArray[Any]
Row = dict[str, str | int | float]
FRACTIONS = (0.05, 0.1)


def per_keypoint(frames: EvaluatedFrames) -> list[Row]:
    """One row for each keypoint of the skeleton, then for each unique keypoint.

    Columns: keypoint, labeled (how often), mean_error_px, median_error_px, rmse_px, pck@0.05, pck@0.1, mean_score,
    false_negatives (how often it was labeled and not predicted, with its animal or alone). Figures are as the metrics
    of the same names define them; unique keypoints have no size and so no PCK.
    """
    matched = frames.matched
    rows = [_row(name, matched, k) for k, name in enumerate(frames.skeleton.names)]
    return rows + [_unique_row(name, u, frames) for u, name in enumerate(frames.skeleton.unique)]


def _row(name: str, matched: MatchedAnimals, k: int) -> Row:
    labeled, errors = matched.labeled[:, k], matched.errors[:, k]  # (A,) each
    shares = {
        f"pck@{fraction:g}": share_within(fraction, errors[:, None], labeled[:, None], matched.sizes)
        for fraction in FRACTIONS
    }
    return _figures(name, labeled, errors, matched.scores[labeled, k], shares)


def _unique_row(name: str, u: int, frames: EvaluatedFrames) -> Row:
    labeled = np.array([not np.isnan(frame.unique_in_image[u]).any() for frame in frames.labels], bool)
    scores = [each.unique_scores[u] if len(each.unique_scores) > u else np.nan for each in frames.predictions]
    no_shares = {f"pck@{fraction:g}": float("nan") for fraction in FRACTIONS}
    errors = frames.matched.unique_errors[:, u]
    return _figures(name, labeled, errors, np.asarray(scores, np.float64)[labeled], no_shares)


def _figures(name: str, labeled: Array, errors: Array, scores: Array, shares: dict[str, float]) -> Row:
    return {
        "keypoint": name,
        "labeled": int(labeled.sum()),
        "mean_error_px": mean(errors),
        "median_error_px": median(errors),
        "rmse_px": root_mean_square(errors),
        **shares,
        "mean_score": mean(scores),
        "false_negatives": int((labeled & np.isnan(errors)).sum()),
    }
