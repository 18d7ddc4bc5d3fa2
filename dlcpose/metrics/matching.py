"""Match the animals of whole frames to ground truth, for all metrics that count in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.matching import MAX_DISTANCE, animal_sizes, match_animals
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MatchedAnimals:
    """The A labeled animals of F frames, each with the prediction matched to it.

    frames: (A,) index of the frame. gt_in_image: (A, K, 2), NaN where unlabeled. pred_in_image: (A, K, 2) and
    scores: (A, K), NaN where a keypoint is not predicted, and for animals without a prediction. is_matched: (A,) bool.
    sizes: (A,) pixels, the longer side of the box around the labeled keypoints, NaN below two places. gt_identities
    and pred_identities: (A,) index of the individual, -1 where unknown. false_positives: (F,) predicted animals of each
    frame that match no labeled one. unique_errors: (F, U) pixels, NaN where not labeled or not predicted.
    """

    frames: Array
    gt_in_image: Array
    pred_in_image: Array
    scores: Array
    is_matched: Array
    sizes: Array
    gt_identities: Array
    pred_identities: Array
    false_positives: Array
    unique_errors: Array

    @property
    def labeled(self) -> Array:
        """Which keypoints are labeled: (A, K) bool."""
        return np.asarray(~np.isnan(self.gt_in_image).any(axis=-1))

    @property
    def errors(self) -> Array:
        """Distance of each keypoint from its label: (A, K) pixels, NaN where not labeled or not predicted."""
        return np.asarray(np.linalg.norm(self.pred_in_image - self.gt_in_image, axis=-1))


def match_frames(
    predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton
) -> MatchedAnimals:
    """Match the predictions of each frame to its labels (`match_animals`); predictions[i] is of the frame of labels[i].

    Where no frame holds more than one animal, labeled or predicted, the two are matched however far apart: that is the
    error of a single-animal model, and leaving out its worst frames would flatter it. An animal without a visible label
    does not count; a prediction with at least half of its keypoints in an ignored box is no false positive.
    """
    gts = [labeled_animals(frame) for frame in labels]
    preds = [_predicted_animals(each) for each in predictions]
    max_distance = None if all(len(each) <= 1 for each in (*gts, *preds)) else MAX_DISTANCE
    animals, keypoints = sum(len(gt) for gt in gts), len(skeleton)
    pred_in_image = np.full((animals, keypoints, 2), np.nan)
    scores = np.full((animals, keypoints), np.nan)
    pred_identities = np.full(animals, -1, np.int64)
    false_positives = np.zeros(len(labels), np.int64)
    first = 0
    for f, (prediction, frame, gt, pred) in enumerate(zip(predictions, labels, gts, preds, strict=True)):
        poses = prediction.keypoints_in_image[pred]  # (M, K, 2)
        pairs = match_animals(poses, gt, max_distance=max_distance)
        for m, n in pairs:
            pred_in_image[first + n] = poses[m]
            scores[first + n] = prediction.keypoint_scores[pred][m]
            pred_identities[first + n] = prediction.identities[pred][m]
        unmatched = np.setdiff1d(np.arange(len(poses)), [m for m, _ in pairs])
        false_positives[f] = (~_mostly_inside(poses[unmatched], _boxes_to_ignore(frame))).sum()
        first += len(gt)
    gt_in_image = np.concatenate([np.zeros((0, keypoints, 2)), *gts])
    scores[np.isnan(pred_in_image).any(axis=-1)] = np.nan
    return MatchedAnimals(
        frames=np.repeat(np.arange(len(labels)), [len(gt) for gt in gts]),
        gt_in_image=gt_in_image,
        pred_in_image=pred_in_image,
        scores=scores,
        is_matched=~np.isnan(pred_in_image).any(axis=-1).all(axis=-1),
        sizes=animal_sizes(gt_in_image),
        gt_identities=np.concatenate(
            [np.zeros(0, np.int64), *(frame.identities[_is_labeled(frame)] for frame in labels)]
        ),
        pred_identities=pred_identities,
        false_positives=false_positives,
        unique_errors=_unique_errors(predictions, labels),
    )


def labeled_animals(frame: FrameLabels) -> Array:
    """The animals with at least one visible label: (N, K, 2) float64, NaN where a keypoint is not labeled."""
    points = np.where(frame.visibility[..., None] > 0, frame.keypoints_in_image, np.nan).astype(np.float64)
    return points[_is_labeled(frame)]


def _is_labeled(frame: FrameLabels) -> Array:
    """Which animals have at least one visible label: (N,) bool."""
    visible = (frame.visibility > 0) & ~np.isnan(frame.keypoints_in_image).any(axis=-1)
    return np.asarray(visible.any(axis=-1))


def _predicted_animals(prediction: PosePrediction) -> Array:
    """Indices of the animals with at least one predicted keypoint: (M',)."""
    return np.flatnonzero(~np.isnan(prediction.keypoints_in_image).any(axis=-1).all(axis=-1))


def _boxes_to_ignore(frame: FrameLabels) -> Array:
    """Crowds, and the boxes of animals without labeled keypoints: (R, 4)."""
    return np.concatenate([frame.ignored_in_image, frame.boxes_in_image[~_is_labeled(frame)]])


def _mostly_inside(poses: Array, boxes: Array) -> Array:
    """Whether at least half of each pose's keypoints lie in one of the boxes: (M, K, 2), (R, 4) -> (M,)."""
    if not len(boxes) or not len(poses):
        return np.zeros(len(poses), bool)
    points = poses[:, None]  # (M, 1, K, 2)
    inside = ((points >= boxes[:, None, :2]) & (points <= boxes[:, None, 2:])).all(axis=-1)  # (M, R, K)
    known = ~np.isnan(poses).any(axis=-1)  # (M, K)
    return np.asarray((2 * inside.sum(axis=-1) >= known.sum(axis=-1)[:, None]).any(axis=1))


def _unique_errors(predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels]) -> Array:
    """Error of each frame's unique keypoints: (F, U) pixels, NaN where the model predicts none or they are unlabeled."""
    count = max((len(frame.unique_in_image) for frame in labels), default=0)
    errors = np.full((len(labels), count), np.nan)
    for error, prediction, frame in zip(errors, predictions, labels, strict=True):
        if len(prediction.unique_in_image) == len(frame.unique_in_image):
            error[: len(frame.unique_in_image)] = np.linalg.norm(
                prediction.unique_in_image.astype(np.float64) - frame.unique_in_image, axis=-1
            )
    return errors
