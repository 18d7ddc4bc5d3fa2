"""RMSE, mAP and mAR as DeepLabCut 3 computes them for the same predictions, by its own definitions.

Its "rmse" is the mean distance. Its mAP counts animals with at least two keypoints, computes OKS with the area of the
box around their labeled keypoints, and matches greedily: a prediction whose most similar animal is taken gets no other.
Labels on the border of an image or outside of it do not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.oks import compute_oks
from dlcpose.metrics.base import EvaluatedFrames, Metric
from dlcpose.metrics.figure_info import FigureInfo
from dlcpose.metrics.matching import labeled_animals
from dlcpose.metrics.pixel_error import mean
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels

Array = npt.NDArray[Any]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
DEFAULT_PCUTOFF = 0.6
MIN_OKS = 1e-6  # below this, two animals are never matched
MIN_AREA = 1e-8  # px²: keypoints on one line span no area, and such an animal is never matched


@dataclass(frozen=True)
class _Image:
    """One image as DeepLabCut reads it: animals without a keypoint dropped, predictions by falling mean score."""

    gt: Array  # (N, K, 2)
    pred: Array  # (M, K, 2)
    keypoint_scores: Array  # (M, K), NaN where not predicted
    similarity: Array  # (M, N), NaN where the labeled animal has no size

    @property
    def scores(self) -> Array:
        return np.asarray(np.nanmean(self.keypoint_scores, axis=-1)) if len(self.pred) else np.zeros(0)


@dataclass(frozen=True)
class DeepLabCutFigures(Metric):
    """`dlc_rmse`, `dlc_rmse_pcutoff` in pixels, `dlc_map`, `dlc_mar` in percent, as DeepLabCut 3 defines them.

    pcutoff: the score a keypoint needs to count in `dlc_rmse_pcutoff`; None for that of the labels' DeepLabCut project, or
    0.6, DeepLabCut's default, where they have none. sigma: OKS sigma of every keypoint, in place of
    the skeleton's.
    """

    figures: ClassVar[Mapping[str, FigureInfo]] = {
        "dlc_rmse": FigureInfo("DeepLabCut RMSE", "px", 2, False, "as DeepLabCut 3 computes it"),
        "dlc_rmse_pcutoff": FigureInfo("DeepLabCut RMSE above pcutoff", "px", 2, False, "as DeepLabCut 3 computes it"),
        "dlc_map": FigureInfo("DeepLabCut mAP", "%", 2, True, "as DeepLabCut 3 computes it"),
        "dlc_mar": FigureInfo("DeepLabCut mAR", "%", 2, True, "as DeepLabCut 3 computes it"),
    }

    pcutoff: float | None = None
    sigma: float = 0.1

    def __call__(self, frames: EvaluatedFrames) -> dict[str, float]:
        """The figures; without predictions mAP and mAR are 0, without animals of two keypoints NaN."""
        pairs = list(zip(frames.predictions, frames.labels, strict=True))
        images = [_prepare(*pair, self.sigma) for pair in pairs]
        errors, scores = _errors_and_scores(images)
        unique = [_unique_errors_and_scores(*pair) for pair in pairs]
        errors = np.concatenate([errors, *(error for error, _ in unique)])
        scores = np.concatenate([scores, *(score for _, score in unique)])
        pcutoffs = (self.pcutoff, frames.pcutoff, DEFAULT_PCUTOFF)
        pcutoff = next(each for each in pcutoffs if each is not None)
        precision, recall = _precision_and_recall([_with_two_keypoints(image) for image in images])
        return {
            "dlc_rmse": mean(errors),
            "dlc_rmse_pcutoff": mean(errors[scores >= pcutoff]),
            "dlc_map": 100 * precision,
            "dlc_mar": 100 * recall,
        }


def _prepare(prediction: PosePrediction, frame: FrameLabels, sigma: float) -> _Image:
    gt = _inside(labeled_animals(frame), frame)
    gt = gt[~np.isnan(gt).all(axis=(1, 2))]
    missing = np.isnan(prediction.keypoints_in_image).any(axis=-1) | ~(prediction.keypoint_scores >= 0)  # (M, K)
    pred = np.where(missing[..., None], np.nan, prediction.keypoints_in_image).astype(np.float64)
    scores = np.where(missing, np.nan, prediction.keypoint_scores).astype(np.float64)
    kept = ~missing.all(axis=-1)
    image = _Image(gt, pred[kept], scores[kept], _similarity(pred[kept], gt, sigma))
    return _select(image, np.argsort(-image.scores, kind="stable"))


def _inside(points: Array, frame: FrameLabels) -> Array:
    """Labels (..., 2) without those on the image's left or upper border or outside of it, which DeepLabCut passes over."""
    is_inside = np.all((points > 0) & (points < (frame.width, frame.height)), axis=-1, keepdims=True)
    return np.where(is_inside, points, np.nan)


def _similarity(pred: Array, gt: Array, sigma: float) -> Array:
    known = ~np.isnan(gt).any(axis=-1, keepdims=True)  # (N, K, 1)
    extent = np.where(known, gt, -np.inf).max(axis=1) - np.where(known, gt, np.inf).min(axis=1)  # (N, 2)
    areas = (extent + np.spacing(1)).prod(axis=-1)
    undefined = (known.sum(axis=(1, 2)) < 2) | (areas <= MIN_AREA)
    return compute_oks(pred, gt, np.where(undefined, np.nan, areas), np.full(gt.shape[1], sigma))


def _match(similarity: Array, threshold: float) -> list[tuple[int, int]]:
    """Pairs (prediction, label): each prediction, by falling score, takes the animal of highest OKS, if that is free."""
    pairs: dict[int, int] = {}
    for m, row in enumerate(similarity):
        if np.isnan(row).all():
            continue
        best = int(np.nanargmax(row))
        if best not in pairs and row[best] >= threshold:
            pairs[best] = m
    return [(m, n) for n, m in pairs.items()]


def _errors_and_scores(images: Sequence[_Image]) -> tuple[Array, Array]:
    """Distance and score of every keypoint of every matched animal: (P·K,) each."""
    single = all(len(image.gt) <= 1 and len(image.pred) <= 1 for image in images)
    errors, scores = [np.zeros(0)], [np.zeros(0)]
    for image in images:
        both = [(0, 0)] if len(image.gt) and len(image.pred) else []
        for m, n in both if single else _match(image.similarity, MIN_OKS):
            errors.append(np.linalg.norm(image.pred[m] - image.gt[n], axis=-1))
            scores.append(image.keypoint_scores[m])
    return np.concatenate(errors), np.concatenate(scores)


def _unique_errors_and_scores(prediction: PosePrediction, frame: FrameLabels) -> tuple[Array, Array]:
    """Distance and score of the unique keypoints, which count as the animals' do: (U,) each."""
    if len(prediction.unique_in_image) != len(frame.unique_in_image):
        return np.zeros(0), np.zeros(0)
    labeled = _inside(frame.unique_in_image.astype(np.float64), frame)
    errors = np.linalg.norm(prediction.unique_in_image - labeled, axis=-1)
    return np.where(prediction.unique_scores >= 0, errors, np.nan), prediction.unique_scores.astype(np.float64)


def _with_two_keypoints(image: _Image) -> _Image:
    """The image without animals, labeled or predicted, of fewer than two keypoints."""
    pred = np.flatnonzero((~np.isnan(image.keypoint_scores)).sum(axis=-1) > 1)
    gt = np.flatnonzero((~np.isnan(image.gt).any(axis=-1)).sum(axis=-1) > 1)
    kept = _select(image, pred)
    return _Image(kept.gt[gt], kept.pred, kept.keypoint_scores, kept.similarity[:, gt])


def _select(image: _Image, pred: Array) -> _Image:
    return _Image(image.gt, image.pred[pred], image.keypoint_scores[pred], image.similarity[pred])


def _precision_and_recall(images: Sequence[_Image]) -> tuple[float, float]:
    """Means over the thresholds of average precision at 101 recalls, and of the recall reached."""
    labeled = sum(len(image.gt) for image in images)
    order = np.argsort(-np.concatenate([np.zeros(0), *(image.scores for image in images)]), kind="stable")
    if len(order) == 0:
        return 0.0, 0.0
    if labeled == 0:
        return float("nan"), float("nan")
    precisions, recalls = [], []
    for threshold in THRESHOLDS:
        correct = np.concatenate([_is_correct(image, threshold) for image in images])[order]  # (predicted animals,)
        recall = np.cumsum(correct) / labeled
        precision = np.cumsum(correct) / np.arange(1, len(correct) + 1)
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)  # 0 beyond the last recall reached
        precisions.append(envelope[np.searchsorted(recall, RECALLS)].mean())
        recalls.append(recall[-1])
    return float(np.mean(precisions)), float(np.mean(recalls))


def _is_correct(image: _Image, threshold: float) -> Array:
    correct = np.zeros(len(image.pred), bool)
    correct[[m for m, _ in _match(image.similarity, threshold)]] = True
    return correct
