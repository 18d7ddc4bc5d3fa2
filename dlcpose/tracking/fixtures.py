"""Things of the cage that a model takes for an animal, in the same place again and again."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.tracking.detections import Detections

Array = npt.NDArray[Any]
REACH = 0.05  # sizes of an animal: what is found within is in the same place
MIN_TIMES = 50  # detections of a thing beyond the number of animals, and
MIN_FRAMES = 0.01  # of all frames, have one: in a nest animals are found twice now and then
MIN_SHARE = 0.5  # of its detections, which are beyond the number of animals: the others stand in for one not found
MAX_THINGS = 20  # that are looked for: with too few animals given, every place of a long video may seem to be one
MAX_SCORE = 0.6  # of the usual: an animal that rests scores as others do


def is_fixture(detections: Detections, animals: int, usual_score: float) -> Array:
    """Which detections are of a thing that is no animal: (D,) bool.

    In a frame with more detections than animals, the weakest are too many. Where those keep lying in one place, with a
    score that animals rarely have, something stands there, which takes the place of an animal in frames in which one is
    not found.
    """
    centroids, scores = detections.centroids(), detections.scores
    found = np.zeros(len(detections), bool)
    waiting = _is_beyond(detections, animals) & (scores < MAX_SCORE * usual_score)
    least = max(MIN_TIMES, MIN_FRAMES * detections.frames)
    for _ in range(MAX_THINGS):
        if waiting.sum() < least:
            break
        place = _densest(centroids[waiting], REACH * detections.size)
        near = np.linalg.norm(centroids - place, axis=-1) < REACH * detections.size
        beyond = near & waiting
        waiting &= ~near
        if beyond.sum() < least:
            break
        alike = near & (scores <= np.quantile(scores[beyond], 0.99))
        if beyond.sum() >= MIN_SHARE * alike.sum():
            found |= alike
    return found


def _is_beyond(detections: Detections, animals: int) -> Array:
    """Which detections are weaker than the `animals` strongest of their frame: (D,)."""
    order = np.lexsort((-detections.scores, detections.rows))
    begins = detections.frame_bounds()[detections.rows[order]]
    beyond = np.zeros(len(detections), bool)
    beyond[order] = np.arange(len(order)) - begins >= animals
    return beyond


def _densest(points: Array, side: float) -> Array:
    """The median of the points (P, 2) in and around the fullest cell of a grid: (2,)."""
    cells = np.floor(points / side).astype(np.int64)
    cells_there, counts = np.unique(cells, axis=0, return_counts=True)
    fullest = cells_there[counts.argmax()]
    there = (np.abs(cells - fullest) <= 1).all(axis=1)
    median: Array = np.median(points[there], axis=0)
    return median
