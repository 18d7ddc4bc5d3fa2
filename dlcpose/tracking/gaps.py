"""Fill the gaps of tracks with short tracklets that are too short to be joined on their own."""

import heapq
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.tracking.motion import Ends, MotionModel
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.slots import NONE

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class JoinOrAbsenceCosts:
    """Costs in nats of one tracklet following another directly, or after an absence where that is cheaper."""

    ends: Ends
    motion: MotionModel
    settings: TrackingSettings

    def __call__(self, before: Array, after: Array) -> Array:
        """(P,) tracklets before and after, NONE for none -> (P,). The video's own beginning and end are no absence."""
        ends, absence = self.ends, self.settings.absence_cost
        begins, finishes = (before == NONE) & (after != NONE), (before != NONE) & (after == NONE)
        costs = np.zeros(len(before))
        costs[begins] = np.where(ends.first[after[begins]] == ends.first.min(), 0.0, absence)
        costs[finishes] = np.where(ends.last[before[finishes]] == ends.last.max(), 0.0, absence)
        both = np.flatnonzero((before != NONE) & (after != NONE))
        costs[both] = 2 * absence
        near = both[ends.first[after[both]] - ends.last[before[both]] <= self.settings.max_gap]
        costs[near] = np.minimum(costs[near], self.motion.costs(ends, before[near], after[near]))
        return costs


def fill_gaps(
    tracks: list[list[int]], short: Array, rewards: Array, ends: Ends, costs: JoinOrAbsenceCosts
) -> list[list[int]]:
    """The tracks, each with the short tracklets that fit between its own, in the order of time.

    tracks: of each animal, tracklets that do not overlap. short: those that are in none yet. rewards: (S,) nats, of each
    tracklet in a track. A tracklet goes where it pays most: its reward less what the joins on both sides cost beyond the
    one that they replace.
    """
    filled = [list(track) for track in tracks]
    short = short[np.argsort(ends.first[short], kind="stable")]
    is_waiting = np.ones(len(short), bool)
    queue: list[tuple[float, int, int, int, int]] = []  # cost, place among the short, track, its neighbors there

    def offer(places: Array, track: int) -> None:
        """Queue short tracklets for a track, by what they cost between their neighbors there."""
        own = np.array(filled[track], np.int64)
        tracklets = short[places]
        position = np.searchsorted(ends.first[own], ends.first[tracklets])
        before, after = np.array([NONE, *own])[position], np.array([*own, NONE])[position]
        fits = (before == NONE) | (ends.last[before] < ends.first[tracklets])
        fits &= (after == NONE) | (ends.last[tracklets] < ends.first[after])
        places, tracklets, before, after = (each[fits] for each in (places, tracklets, before, after))
        dear = costs(before, tracklets) + costs(tracklets, after) - costs(before, after) - rewards[tracklets]
        for number in np.flatnonzero(dear < 0).tolist():
            heapq.heappush(
                queue, (float(dear[number]), int(places[number]), track, int(before[number]), int(after[number]))
            )

    for track in range(len(filled)):
        offer(np.arange(len(short)), track)
    while queue:
        _, place, track, before, after = heapq.heappop(queue)
        own, tracklet = filled[track], int(short[place])
        position = bisect_left(own, ends.first[tracklet], key=lambda each: ends.first[each])
        neighbors = own[position - 1] if position else NONE, own[position] if position < len(own) else NONE
        if not is_waiting[place] or neighbors != (before, after):  # with others it was offered anew
            continue
        own.insert(position, tracklet)
        is_waiting[place] = False
        low = ends.last[before] if before != NONE else -1
        high = ends.first[after] if after != NONE else ends.last.max() + 1
        beside = np.arange(*np.searchsorted(ends.first[short], (low + 1, high)))
        offer(beside[is_waiting[beside]], track)
    return filled
