"""The same figures for each keypoint by itself: which one a model finds hard."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.metrics.matching import MatchedAnimals, match_frames
from dlcpose.metrics.pck import share_within
from dlcpose.metrics.pixel_error import mean, median, root_mean_square
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]
Row = dict[str, str | int | float]
FRACTIONS = (0.05, 0.1)


def per_keypoint(predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton) -> list[Row]:
    """One row for each keypoint of the skeleton, then for each point of the arena.

    keypoint, labelled (how often), mean_error_px, median_error_px, rmse_px, pck@0.05, pck@0.1, mean_score, missed: how
    often it was labelled and not found, with its animal or alone. Figures are as the metrics of the same names define
    them; points of the arena have no size and so no PCK.
    """
    pairs = match_frames(predictions, labels, skeleton)
    rows = [_row(name, pairs, k) for k, name in enumerate(skeleton.names)]
    return rows + [_unique_row(name, u, predictions, labels, pairs) for u, name in enumerate(skeleton.unique)]


def _row(name: str, pairs: MatchedAnimals, k: int) -> Row:
    labelled, errors = pairs.labelled[:, k], pairs.errors[:, k]  # (A,) each
    shares = {
        f"pck@{fraction:g}": share_within(fraction, errors[:, None], labelled[:, None], pairs.sizes)
        for fraction in FRACTIONS
    }
    return _figures(name, labelled, errors, pairs.scores[labelled, k], shares)


def _unique_row(
    name: str,
    u: int,
    predictions: Sequence[PosePrediction],
    labels: Sequence[FrameLabels],
    pairs: MatchedAnimals,
) -> Row:
    labelled = np.array([not np.isnan(frame.unique_in_image[u]).any() for frame in labels], bool)
    scores = [each.unique_scores[u] if len(each.unique_scores) > u else np.nan for each in predictions]
    no_shares = {f"pck@{fraction:g}": float("nan") for fraction in FRACTIONS}
    return _figures(name, labelled, pairs.unique_errors[:, u], np.asarray(scores, np.float64)[labelled], no_shares)


def _figures(name: str, labelled: Array, errors: Array, scores: Array, shares: dict[str, float]) -> Row:
    return {
        "keypoint": name,
        "labelled": int(labelled.sum()),
        "mean_error_px": mean(errors),
        "median_error_px": median(errors),
        "rmse_px": root_mean_square(errors),
        **shares,
        "mean_score": mean(scores),
        "false_negatives": int((labelled & np.isnan(errors)).sum()),
    }
