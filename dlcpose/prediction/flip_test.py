"""Merge the poses of a frame and of its mirror image (flip test)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.matching import match_by_similarity
from dlcpose.structures.instances import Floats, PosePrediction
from dlcpose.structures.skeleton import Skeleton

ALIKE = 0.5  # minimum similarity (0 to 1, as in OKS) of two places of a keypoint that are averaged
SAME_ANIMAL = 0.1  # minimum similarity of two poses of one animal


def merge_mirrored(prediction: PosePrediction, of_mirrored: PosePrediction, skeleton: Skeleton) -> PosePrediction:
    """The poses of a frame, merged with those predicted in its mirror image.

    of_mirrored: in the frame's own pixels, but with left and right swapped. Animals are matched one to one. A keypoint
    that both have in the same place is their mean, weighted by score; where they disagree, that with the higher score.
    Animals only in the frame stay as they are; animals only in the mirror image are not added.
    """
    order, unique_order = list(skeleton.flip_order), list(skeleton.unique_flip_order)
    theirs, their_scores = of_mirrored.keypoints_in_image[:, order], of_mirrored.keypoint_scores[:, order]
    points, scores = prediction.keypoints_in_image.copy(), prediction.keypoint_scores.copy()
    animal_scores = prediction.scores.copy()
    for ours, other in _matched(points, theirs, skeleton.sigmas):
        likeness = _likeness(points[ours], theirs[other], skeleton.sigmas)
        merged = _merged(points[ours], scores[ours], theirs[other], their_scores[other], likeness)
        points[ours], scores[ours] = merged
        animal_scores[ours] = (animal_scores[ours] + of_mirrored.scores[other]) / 2
    unique, unique_scores = prediction.unique_in_image, prediction.unique_scores
    if len(unique):
        mirrored = of_mirrored.unique_in_image[unique_order]
        likeness = _likeness(unique, mirrored, (0.1,) * len(unique))
        unique, unique_scores = _merged(
            unique, unique_scores, mirrored, of_mirrored.unique_scores[unique_order], likeness
        )
    return replace(
        prediction,
        keypoints_in_image=points,
        keypoint_scores=scores,
        scores=animal_scores,
        unique_in_image=unique,
        unique_scores=unique_scores,
    )


def _matched(ours: Floats, theirs: Floats, sigmas: Sequence[float]) -> list[tuple[int, int]]:
    """Pairs of poses of one animal, one to one."""
    if not len(ours) or not len(theirs):
        return []
    if len(ours) == len(theirs) == 1:
        return [(0, 0)]
    likeness = np.array([[np.nanmean(np.append(_likeness(a, b, sigmas), 0.0)) for b in theirs] for a in ours])
    return match_by_similarity(likeness, SAME_ANIMAL)


def _likeness(ours: Floats, theirs: Floats, sigmas: Sequence[float]) -> npt.NDArray[np.float64]:
    """Object keypoint similarity of each keypoint: (K, 2), (K, 2) -> (K,), NaN where one is missing."""
    known = ours[~np.isnan(ours).any(axis=-1)]
    area = max(float(np.prod(np.ptp(known, axis=0))) if len(known) else 0.0, 100.0)  # px², also of a single keypoint
    squared = ((ours.astype(np.float64) - theirs) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-squared / (2 * area * (2 * np.asarray(sigmas)) ** 2)))


def _merged(
    ours: Floats, our_scores: Floats, theirs: Floats, their_scores: Floats, likeness: npt.NDArray[np.float64]
) -> tuple[Floats, Floats]:
    """Points (K, 2) and scores (K,) of both."""
    total = our_scores + their_scores
    share = np.divide(our_scores, total, out=np.full_like(total, 0.5), where=total > 0)[:, None]
    mean = share * ours + (1 - share) * theirs
    is_ours = np.isnan(theirs).any(axis=-1) | (~np.isnan(ours).any(axis=-1) & (our_scores >= their_scores))
    agrees = (likeness >= ALIKE)[:, None]  # NaN is not
    points = np.where(agrees, mean, np.where(is_ours[:, None], ours, theirs))
    scores = np.where(agrees[:, 0], total / 2, np.where(is_ours, our_scores, their_scores))
    return points.astype(np.float32), scores.astype(np.float32)
