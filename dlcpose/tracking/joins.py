"""Possible joins of tracklets, and their costs."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.tracking.evidence import Evidence
from dlcpose.tracking.flow import Joins
from dlcpose.tracking.motion import Ends, MotionModel
from dlcpose.tracking.settings import TrackingSettings

Array = npt.NDArray[Any]
NEAREST_IN_TIME = 120  # maximum number of later tracklets considered for each
KEPT = 12  # cheapest joins of each tracklet, forwards and backwards
REACH = 8.0  # standard deviations of the displacement beyond which no cost is computed


def possible_joins(ends: Ends, motion: MotionModel, evidence: Evidence, settings: TrackingSettings) -> Joins:
    """Joins over gaps up to `max_gap` that cost less than `join_cost_limit`; the cheapest of each tracklet.

    ends: in the order of their first times.
    """
    found = []
    for begin in range(0, len(ends), 4000):
        here = np.arange(begin, min(begin + 4000, len(ends)))
        before, after = _near_in_time(ends, here, settings.max_gap)
        gap = ends.first[after] - ends.last[before]
        away = np.linalg.norm(ends.start_centroid[after] - ends.end_centroid[before], axis=-1)
        near = away < REACH * motion.spread(motion.resting, gap.astype(np.float64))
        before, after = before[near], after[near]
        costs = motion.costs(ends, before, after) + evidence.differences(before, after)
        cheap = costs < settings.join_cost_limit
        found.append((before[cheap], after[cheap], costs[cheap]))
    if not found:
        return Joins(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    before, after, costs = (np.concatenate(each) for each in zip(*found, strict=True))
    keep = (_rank(before, costs) < KEPT) | (_rank(after, costs) < KEPT)
    return Joins(before[keep], after[keep], costs[keep])


def _near_in_time(ends: Ends, here: Array, max_gap: int) -> tuple[Array, Array]:
    """Pairs of tracklets of which the second begins after the first ends: (P,), (P,)."""
    low = np.searchsorted(ends.first, ends.last[here], side="right")
    high = np.searchsorted(ends.first, ends.last[here] + max_gap, side="right")
    count = np.minimum(high - low, NEAREST_IN_TIME)
    after = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    return np.repeat(here, count), after


def _rank(groups: Array, costs: Array) -> Array:
    """The place of each cost within its group, from 0 for the cheapest: (P,)."""
    order = np.lexsort((costs, groups))
    inner = np.arange(len(order)) - np.searchsorted(groups[order], groups[order])
    rank = np.empty(len(order), np.int64)
    rank[order] = inner
    return rank
