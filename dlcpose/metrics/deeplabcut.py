"""The figures that DeepLabCut 3 would print for the same predictions, by its own definitions.

Its "rmse" is the mean distance. Its mAP counts animals with at least two keypoints, judges them by the box around
their labelled keypoints, and gives a found animal no second choice when the one it is most like is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.oks import compute_oks
from dlcpose.metrics.base import check_frames
from dlcpose.metrics.matching import labelled_animals
from dlcpose.metrics.pixel_error import mean
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
LEAST_OKS = 1e-6  # below this two animals have nothing in common
MIN_AREA = 1e-8  # px²: keypoints on one line span no area, and such an animal is never matched


@dataclass(frozen=True)
class _Image:
    """One image as DeepLabCut reads it: animals without a keypoint dropped, found ones by falling mean score."""

    gt: Array  # (N, K, 2)
    found: Array  # (M, K, 2)
    keypoint_scores: Array  # (M, K), NaN where not found
    similarity: Array  # (M, N), NaN where the labelled animal has no size

    @property
    def scores(self) -> Array:
        return np.asarray(np.nanmean(self.keypoint_scores, axis=-1)) if len(self.found) else np.zeros(0)


@dataclass(frozen=True)
class DeepLabCutFigures:
    """`dlc_rmse`, `dlc_rmse_pcutoff` in pixels, `dlc_map`, `dlc_mar` in percent, as DeepLabCut 3 defines them.

    pcutoff: the score a keypoint needs to count in `dlc_rmse_pcutoff`. sigma: of every keypoint, not the skeleton's.
    """

    pcutoff: float = 0.6
    sigma: float = 0.1

    def __call__(
        self, predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton
    ) -> dict[str, float]:
        """The figures; without predictions mAP and mAR are 0, without animals of two keypoints NaN."""
        check_frames(predictions, labels, skeleton)
        images = [_prepare(*pair, self.sigma) for pair in zip(predictions, labels, strict=True)]
        errors, scores = _errors_and_scores(images)
        arena = [_arena(*pair) for pair in zip(predictions, labels, strict=True)]
        errors = np.concatenate([errors, *(error for error, _ in arena)])
        scores = np.concatenate([scores, *(score for _, score in arena)])
        precision, recall = _precision_and_recall([_of_two_keypoints(image) for image in images])
        return {
            "dlc_rmse": mean(errors),
            "dlc_rmse_pcutoff": mean(errors[scores >= self.pcutoff]),
            "dlc_map": 100 * precision,
            "dlc_mar": 100 * recall,
        }


def _prepare(prediction: PosePrediction, frame: FrameLabels, sigma: float) -> _Image:
    gt = labelled_animals(frame)
    missing = np.isnan(prediction.keypoints_in_image).any(axis=-1) | ~(prediction.keypoint_scores >= 0)  # (M, K)
    found = np.where(missing[..., None], np.nan, prediction.keypoints_in_image).astype(np.float64)
    scores = np.where(missing, np.nan, prediction.keypoint_scores).astype(np.float64)
    kept = ~missing.all(axis=-1)
    image = _Image(gt, found[kept], scores[kept], _similarity(found[kept], gt, sigma))
    return _select(image, np.argsort(-image.scores, kind="stable"))


def _similarity(found: Array, gt: Array, sigma: float) -> Array:
    known = ~np.isnan(gt).any(axis=-1, keepdims=True)  # (N, K, 1)
    extent = np.where(known, gt, -np.inf).max(axis=1) - np.where(known, gt, np.inf).min(axis=1)  # (N, 2)
    areas = (extent + np.spacing(1)).prod(axis=-1)
    undefined = (known.sum(axis=(1, 2)) < 2) | (areas <= MIN_AREA)
    return compute_oks(found, gt, np.where(undefined, np.nan, areas), np.full(gt.shape[1], sigma))


def _match(similarity: Array, threshold: float) -> list[tuple[int, int]]:
    """Pairs (found, labelled): each found animal, the surest first, takes the one it is most like, if that is free."""
    pairs: dict[int, int] = {}
    for m, row in enumerate(similarity):
        if np.isnan(row).all():
            continue
        best = int(np.nanargmax(row))
        if best not in pairs and row[best] >= threshold:
            pairs[best] = m
    return [(m, n) for n, m in pairs.items()]


def _errors_and_scores(images: Sequence[_Image]) -> tuple[Array, Array]:
    """Distance and score of every keypoint of every paired animal: (P·K,) each."""
    single = all(len(image.gt) <= 1 and len(image.found) <= 1 for image in images)
    errors, scores = [np.zeros(0)], [np.zeros(0)]
    for image in images:
        both = [(0, 0)] if len(image.gt) and len(image.found) else []
        for m, n in both if single else _match(image.similarity, LEAST_OKS):
            errors.append(np.linalg.norm(image.found[m] - image.gt[n], axis=-1))
            scores.append(image.keypoint_scores[m])
    return np.concatenate(errors), np.concatenate(scores)


def _arena(prediction: PosePrediction, frame: FrameLabels) -> tuple[Array, Array]:
    """Distance and score of the points of the arena, which count as the animals' do: (U,) each."""
    if len(prediction.unique_in_image) != len(frame.unique_in_image):
        return np.zeros(0), np.zeros(0)
    errors = np.linalg.norm(prediction.unique_in_image.astype(np.float64) - frame.unique_in_image, axis=-1)
    return np.where(prediction.unique_scores >= 0, errors, np.nan), prediction.unique_scores.astype(np.float64)


def _of_two_keypoints(image: _Image) -> _Image:
    """The image without animals, labelled or found, of fewer than two keypoints."""
    found = np.flatnonzero((~np.isnan(image.keypoint_scores)).sum(axis=-1) > 1)
    gt = np.flatnonzero((~np.isnan(image.gt).any(axis=-1)).sum(axis=-1) > 1)
    kept = _select(image, found)
    return _Image(kept.gt[gt], kept.found, kept.keypoint_scores, kept.similarity[:, gt])


def _select(image: _Image, found: Array) -> _Image:
    return _Image(image.gt, image.found[found], image.keypoint_scores[found], image.similarity[found])


def _precision_and_recall(images: Sequence[_Image]) -> tuple[float, float]:
    """Means over the thresholds of average precision at 101 recalls, and of the recall reached."""
    labelled = sum(len(image.gt) for image in images)
    order = np.argsort(-np.concatenate([np.zeros(0), *(image.scores for image in images)]), kind="stable")
    if len(order) == 0:
        return 0.0, 0.0
    if labelled == 0:
        return float("nan"), float("nan")
    precisions, recalls = [], []
    for threshold in THRESHOLDS:
        right = np.concatenate([_is_right(image, threshold) for image in images])[order]  # (found animals,)
        recall = np.cumsum(right) / labelled
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)  # 0 beyond the last recall reached
        precisions.append(envelope[np.searchsorted(recall, RECALLS)].mean())
        recalls.append(recall[-1])
    return float(np.mean(precisions)), float(np.mean(recalls))


def _is_right(image: _Image, threshold: float) -> Array:
    right = np.zeros(len(image.found), bool)
    right[[m for m, _ in _match(image.similarity, threshold)]] = True
    return right
