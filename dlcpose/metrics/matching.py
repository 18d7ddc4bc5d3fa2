"""Every labelled animal beside the found one that is the same, for all metrics that count in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.matching import MAX_DISTANCE, animal_sizes, match_animals
from dlcpose.metrics.base import check_frames
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MatchedAnimals:
    """The A labelled animals of F frames, and what was found of each.

    frames: (A,) index of the frame. truth_in_image: (A, K, 2), NaN where unlabelled. found_in_image: (A, K, 2) and
    scores: (A, K), NaN where not found and for animals that were missed. matched: (A,) bool. sizes: (A,) pixels, the
    longer side of the box around the labelled keypoints, NaN below two places. identities and found_identities: (A,)
    index of the individual, -1 where unknown or missed. invented: (F,) found animals in each
    frame that are no labelled one. unique_errors: (F, U) pixels, NaN where not labelled or not found.
    """

    frames: Array
    gt_in_image: Array
    pred_in_image: Array
    scores: Array
    matched: Array
    sizes: Array
    identities: Array
    found_identities: Array
    false_positives: Array
    unique_errors: Array

    @property
    def labelled(self) -> Array:
        """Which keypoints are labelled: (A, K) bool."""
        return np.asarray(~np.isnan(self.gt_in_image).any(axis=-1))

    @property
    def errors(self) -> Array:
        """Distance of each keypoint from its label: (A, K) pixels, NaN where not labelled or not found."""
        return np.asarray(np.linalg.norm(self.pred_in_image - self.gt_in_image, axis=-1))


def match_frames(
    predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels], skeleton: Skeleton
) -> MatchedAnimals:
    """Pair found and labelled animals of each frame by `match_animals`.

    Where no frame holds more than one animal, labelled or found, the two are paired however far apart: that is the
    error of a single-animal model, and leaving out its worst frames would flatter it. An animal without a visible
    label is none; one whose keypoints are mostly in a box to be ignored is not counted as invented.
    Raises ValueError when predictions and labels do not belong together.
    """
    check_frames(predictions, labels, skeleton)
    keypoints = len(skeleton)
    gts = [labelled_animals(frame) for frame in labels]
    founds = [_found_animals(each) for each in predictions]
    max_distance = None if all(len(each) <= 1 for each in (*gts, *founds)) else MAX_DISTANCE
    animals = sum(len(gt) for gt in gts)
    pred_in_image = np.full((animals, keypoints, 2), np.nan)
    scores = np.full((animals, keypoints), np.nan)
    found_identities = np.full(animals, -1, np.int64)
    false_positives = np.zeros(len(labels), np.int64)
    first = 0
    for f, (prediction, frame, gt, found) in enumerate(zip(predictions, labels, gts, founds, strict=True)):
        poses = prediction.keypoints_in_image[found]  # (M, K, 2)
        pairs = match_animals(poses, gt, max_distance=max_distance)
        for m, n in pairs:
            pred_in_image[first + n] = poses[m]
            scores[first + n] = prediction.keypoint_scores[found][m]
            found_identities[first + n] = prediction.identities[found][m]
        unpaired = np.setdiff1d(np.arange(len(poses)), [m for m, _ in pairs])
        false_positives[f] = (~_mostly_inside(poses[unpaired], _boxes_to_ignore(frame))).sum()
        first += len(gt)
    gt_in_image = np.concatenate([np.zeros((0, keypoints, 2)), *gts])
    scores[np.isnan(pred_in_image).any(axis=-1)] = np.nan
    return MatchedAnimals(
        frames=np.repeat(np.arange(len(labels)), [len(gt) for gt in gts]),
        gt_in_image=gt_in_image,
        pred_in_image=pred_in_image,
        scores=scores,
        matched=~np.isnan(pred_in_image).any(axis=-1).all(axis=-1),
        sizes=animal_sizes(gt_in_image),
        identities=np.concatenate(
            [np.zeros(0, np.int64), *(frame.identities[_is_labelled(frame)] for frame in labels)]
        ),
        found_identities=found_identities,
        false_positives=false_positives,
        unique_errors=_unique_errors(predictions, labels),
    )


def labelled_animals(frame: FrameLabels) -> Array:
    """The animals with at least one visible label: (N, K, 2) float64, NaN where a keypoint is not labelled."""
    points = np.where(frame.visibility[..., None] > 0, frame.keypoints_in_image, np.nan).astype(np.float64)
    return points[_is_labelled(frame)]


def _is_labelled(frame: FrameLabels) -> Array:
    """Which animals have at least one visible label: (N,) bool."""
    visible = (frame.visibility > 0) & ~np.isnan(frame.keypoints_in_image).any(axis=-1)
    return np.asarray(visible.any(axis=-1))


def _found_animals(prediction: PosePrediction) -> Array:
    """Places of the animals of which at least one keypoint was found: (M',)."""
    return np.flatnonzero(~np.isnan(prediction.keypoints_in_image).any(axis=-1).all(axis=-1))


def _boxes_to_ignore(frame: FrameLabels) -> Array:
    """Crowds, and the boxes of animals whose keypoints nobody labelled: (R, 4)."""
    return np.concatenate([frame.ignored_in_image, frame.boxes_in_image[~_is_labelled(frame)]])


def _mostly_inside(poses: Array, boxes: Array) -> Array:
    """Whether at least half of each pose's keypoints lie in one of the boxes: (M, K, 2), (R, 4) -> (M,)."""
    if not len(boxes) or not len(poses):
        return np.zeros(len(poses), bool)
    points = poses[:, None]  # (M, 1, K, 2)
    inside = ((points >= boxes[:, None, :2]) & (points <= boxes[:, None, 2:])).all(axis=-1)  # (M, R, K)
    known = ~np.isnan(poses).any(axis=-1)  # (M, K)
    return np.asarray((2 * inside.sum(axis=-1) >= known.sum(axis=-1)[:, None]).any(axis=1))


def _unique_errors(predictions: Sequence[PosePrediction], labels: Sequence[FrameLabels]) -> Array:
    """Pixels between each frame's points of the arena and their labels; a model without such points found none."""
    count = max((len(frame.unique_in_image) for frame in labels), default=0)
    errors = np.full((len(labels), count), np.nan)
    for error, prediction, frame in zip(errors, predictions, labels, strict=True):
        if len(prediction.unique_in_image) == len(frame.unique_in_image):
            error[: len(frame.unique_in_image)] = np.linalg.norm(
                prediction.unique_in_image.astype(np.float64) - frame.unique_in_image, axis=-1
            )
    return errors
