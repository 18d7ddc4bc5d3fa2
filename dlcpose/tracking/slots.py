"""Assign tracks to as many slots as there are animals, and list where two slots may exchange what follows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
JoinCosts = Callable[[Array, Array], Array]  # (P,) tracklets before, (P,) after -> (P,) nats
NONE = -1  # no tracklet: before the first of a slot, or after its last


@dataclass(frozen=True)
class Exchanges:
    """E places where two slots could exchange all that follows, in the order of time.

    first_slot, second_slot: (E,). first_place, second_place: (E,) the places in the slots from which on they exchange.
    costs: (E,) nats, of the joins after the exchange beyond those before it. begin, end: (E,) steps between which it happens.
    """

    first_slot: Array
    second_slot: Array
    first_place: Array
    second_place: Array
    costs: Array
    begin: Array
    end: Array

    def __len__(self) -> int:
        return len(self.costs)


def fill_slots(
    tracks: list[list[int]], first: Array, last: Array, costs: JoinCosts, *, animals: int
) -> list[list[int]]:
    """The tracklets of each of `animals` slots in the order of time: tracks that follow each other at the least cost.

    tracks: no more than `animals` at a time. A slot that was in use before is preferred to one that never was.
    """
    slots: list[list[int]] = [[] for _ in range(animals)]
    for track in sorted(tracks, key=lambda each: (first[each[0]], each[0])):
        free = [slot for slot in slots if slot and last[slot[-1]] < first[track[0]]]
        if free:
            dear = costs(np.array([slot[-1] for slot in free]), np.full(len(free), track[0]))
            free[int(dear.argmin())].extend(track)
        else:
            next(slot for slot in slots if not slot).extend(track)
    return slots


def exchanges_of(
    slots: list[list[int]], first: Array, last: Array, costs: JoinCosts, *, absence_cost: float, limit: float
) -> Exchanges:
    """All exchanges of two slots that cost less than `limit` nats.

    Two slots can exchange where both are between two tracklets, and each one's former tracklet ends before the other's
    next begins. An absence, before the first tracklet or after the last, costs `absence_cost`.
    """
    parts = []
    for a in range(len(slots)):
        for b in range(a + 1, len(slots)):
            parts.append(_exchanges_of_two(a, b, slots, first, last))
    table = np.concatenate(parts, axis=1) if parts else np.zeros((10, 0), np.int64)
    a, b, place_a, place_b, u, v, w, x, begin, end = table

    def join(before: Array, after: Array) -> Array:
        joined = np.where((before == NONE) & (after == NONE), 0.0, absence_cost)
        both = (before != NONE) & (after != NONE)
        joined[both] = costs(before[both], after[both])
        return joined

    dear = join(u, x) + join(w, v) - join(u, v) - join(w, x)
    keep = dear < limit
    order = np.lexsort((end[keep], begin[keep]))
    return Exchanges(*(each[keep][order] for each in (a, b, place_a, place_b, dear, begin, end)))


def _exchanges_of_two(a: int, b: int, slots: list[list[int]], first: Array, last: Array) -> Array:
    """Of two slots, every pair of joins that overlap in time: (10, E) whole numbers.

    Slots, places, the tracklets before and after of both (NONE where there is none), and between which times.
    """
    far = int(last.max(initial=0)) + 2
    joins = []
    for slot in (slots[a], slots[b]):
        before = np.array([NONE, *slot])
        after = np.array([*slot, NONE])
        joins.append(
            (before, after, np.where(before == NONE, -2, last[before]), np.where(after == NONE, far, first[after]))
        )
    (u, v, end_u, start_v), (w, x, end_w, start_x) = joins
    low = np.searchsorted(start_x, end_u, side="right")
    high = np.searchsorted(end_w, start_v, side="left")
    count = np.maximum(high - low, 0)
    i = np.repeat(np.arange(len(u)), count)
    j = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    # Where both begin, or both end, nothing is exchanged.
    useful = ~(((u[i] == NONE) & (w[j] == NONE)) | ((v[i] == NONE) & (x[j] == NONE)))
    i, j = i[useful], j[useful]
    begin, end = np.maximum(end_u[i], end_w[j]), np.minimum(start_v[i], start_x[j])
    return np.stack([np.full(len(i), a), np.full(len(i), b), i, j, u[i], v[i], w[j], x[j], begin, end])
