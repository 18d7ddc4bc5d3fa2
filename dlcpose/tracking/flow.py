"""Join tracklets to tracks over the whole video, at most as many at a time as there are animals, by a minimum-cost flow."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csc_array, vstack

Array = npt.NDArray[Any]
BLOCK = 1500  # tracklets solved at once, where the video can be cut
FORCED = 1e4  # nats: larger than all other costs together
MIN_STRADDLING = 24  # detections of a tracklet over which a cut may go


class Joins(NamedTuple):
    """Possible joins of tracklets: `after[p]` goes on from `before[p]` at costs[p]: (P,) each."""

    before: Array
    after: Array
    costs: Array


class Flow(NamedTuple):
    """is_used: (S,) whether a tracklet belongs to a track. next: (S,) the tracklet joined to it, -1 for none."""

    is_used: Array
    next: Array

    def tracks(self) -> list[list[int]]:
        """Tracklets of each track, in the order of time."""
        has_before = np.zeros(len(self.next), bool)
        has_before[self.next[self.next >= 0]] = True
        found = []
        for begin in np.flatnonzero(self.is_used & ~has_before).tolist():
            track = [begin]
            while self.next[track[-1]] >= 0:
                track.append(int(self.next[track[-1]]))
            found.append(track)
        return found


def join_tracklets(
    first: Array, last: Array, count: Array, rewards: Array, joins: Joins, *, animals: int, absence_cost: float
) -> Flow:
    """The tracks of least total cost: (S,) first and last time, detections and reward of each tracklet -> a `Flow`.

    A track begins and ends at `absence_cost` each, but for nothing at the video's own first and last time. At no time
    are there more tracks than `animals`: a beginning takes an animal out of a pool that holds `animals` at first, and
    an end returns it. A tracklet's reward is gained where it is used. Costs of a flow are linear and its constraints
    totally unimodular, so that HiGHS's linear program is exact. Long videos are solved in blocks, cut where as many
    long tracklets as animals run on side by side.
    """
    is_used, following = np.zeros(len(first), bool), np.full(len(first), -1)
    cuts = _cuts(first, last, count, animals)
    for low, high in zip([-np.inf, *cuts], [*cuts, np.inf], strict=True):
        members = np.flatnonzero((last >= low) & (first <= high))
        # At a cut only the long tracklets exist: another beside them would be one animal too many.
        is_long = count[members] >= MIN_STRADDLING
        begun = is_long & (first[members] < low) & (last[members] > low)
        goes_on = is_long & (first[members] < high) & (last[members] > high)
        across = ((first[members] <= low) & ~begun) | ((last[members] >= high) & ~goes_on)
        keep = ~across
        members, begun, goes_on = members[keep], begun[keep], goes_on[keep]
        if len(members):
            own = _joins_within(joins, members, begun, goes_on, len(first))
            block = _Block(first[members], last[members], rewards[members], own, begun, goes_on)
            enter = np.where(first[members] == first.min(), 0.0, absence_cost)
            leave = np.where(last[members] == last.max(), 0.0, absence_cost)
            used, after = _solve(block, animals, enter, leave)
            is_used[members[used]] = True
            following[members[after >= 0]] = members[after[after >= 0]]
    return Flow(is_used, following)


def _cuts(first: Array, last: Array, count: Array, animals: int) -> list[float]:
    """Times between which blocks lie: exactly `animals` long tracklets run across each."""
    if len(first) <= BLOCK:
        return []
    is_long = count >= MIN_STRADDLING
    end = int(last.max()) + 2
    change = np.zeros(end + 1, np.int64)
    np.add.at(change, first[is_long] + 1, 1)  # strictly inside: a cut is neither the first nor the last time
    np.add.at(change, last[is_long], -1)
    quiet = np.flatnonzero(np.cumsum(change)[:end] == animals)
    begun = np.searchsorted(np.sort(first), quiet, side="right")  # tracklets that have begun by then
    cuts: list[float] = []
    done = 0
    for time, number in zip(quiet.tolist(), begun.tolist(), strict=True):
        if number - done >= BLOCK and len(first) - number >= BLOCK // 4:
            cuts.append(time)
            done = number
    return cuts


def _joins_within(joins: Joins, members: Array, begun: Array, goes_on: Array, count: int) -> Joins:
    """The joins between the members of a block, by their places in it."""
    place = np.full(count, -1)
    place[members] = np.arange(len(members))
    before, after = place[joins.before], place[joins.after]
    inside = (before >= 0) & (after >= 0)
    inside[inside] = ~goes_on[before[inside]] & ~begun[after[inside]]
    return Joins(before[inside], after[inside], joins.costs[inside])


class _Block(NamedTuple):
    """S tracklets that are solved at once, in the order of time; joins are by places in them. begun, goes_on: (S,) whether a
    tracklet is in use already when the block begins, and still when it ends."""

    first: Array
    last: Array
    rewards: Array
    joins: Joins
    begun: Array
    goes_on: Array


def _solve(block: _Block, animals: int, enter: Array, leave: Array) -> tuple[Array, Array]:
    """Which tracklets of a block are used, and what follows each (places in the block), -1 for nothing.

    enter, leave: (S,) cost of a track's beginning and end there.
    Variables: entering each tracklet, leaving it, each join, and what is in the pool after each time at which that changes.
    """
    size, links = len(block.first), len(block.joins.before)
    balance, once, moments = _constraints(block)
    total = balance.shape[1]
    # Those that run across a cut are in use on both sides of it.
    gains = block.rewards + FORCED * block.goes_on
    enter = np.where(block.begun, -FORCED, enter) - gains
    leave = np.where(block.goes_on, 0.0, leave)
    costs = block.joins.costs - gains[block.joins.after]
    right = np.zeros(size + moments)
    right[size] = animals  # the pool before the first time
    upper = np.ones(total)
    upper[total - moments :] = animals
    solution, message = None, ""
    for integrality in (0, 1):  # a vertex is whole already; the second try is for a solver that stopped beside one
        result = milp(
            np.concatenate([enter, leave, costs, np.zeros(moments)]),
            integrality=np.full(total, integrality),
            bounds=Bounds(np.zeros(total), upper),
            constraints=[LinearConstraint(balance, right, right), LinearConstraint(once, -np.inf, 1.0)],
        )
        solution, message = result.x, result.message
        if solution is not None and np.abs(solution - np.round(solution)).max() < 1e-4:
            break
    if solution is None:
        raise RuntimeError(f"The joins of {size} tracklets have no solution: {message}")
    chosen = solution > 0.5
    made = chosen[2 * size : 2 * size + links]
    used = chosen[:size].copy()
    used[block.joins.after[made]] = True
    following = np.full(size, -1)
    following[block.joins.before[made]] = block.joins.after[made]
    return used, following


def _constraints(block: _Block) -> tuple[csc_array, csc_array, int]:
    """What must be kept: equalities (S + moments), at most 1 (S), and the number of moments at which the pool changes."""
    size, links = len(block.first), len(block.joins.before)
    # An animal is taken from the pool at a tracklet's first time, and is back at the time after its last.
    starts = np.where(block.begun, block.first.min() - 1, block.first)
    ends = np.where(block.goes_on, block.last.max() + 2, block.last + 1)
    times = np.unique(np.concatenate([starts, ends]))
    moments = len(times)
    total = 2 * size + links + moments
    number, pool = np.arange(size), np.arange(moments)
    link = 2 * size + np.arange(links)
    enters = [(number, number, 1.0), (block.joins.after, link, 1.0)]
    balance = [*enters, (number, size + number, -1.0), (block.joins.before, link, -1.0)]  # what enters, leaves
    stock = [
        (pool, 2 * size + links + pool, 1.0),
        (pool[1:], 2 * size + links + pool[:-1], -1.0),
        (np.searchsorted(times, starts), number, 1.0),
        (np.searchsorted(times, ends), size + number, -1.0),
    ]
    equal = vstack([_matrix(balance, (size, total)), _matrix(stock, (moments, total))])
    return csc_array(equal), csc_array(_matrix(enters, (size, total))), moments


def _matrix(parts: list[tuple[Array, Array, float]], shape: tuple[int, int]) -> coo_array:
    rows = np.concatenate([row for row, _, _ in parts])
    columns = np.concatenate([column for _, column, _ in parts])
    values = np.concatenate([np.full(len(row), value) for row, _, value in parts])
    return coo_array((values, (rows, columns)), shape=shape)
