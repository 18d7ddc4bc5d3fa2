"""Assign animals to slots over time: the best sequence of exchanges, and the margin of each decision."""

from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from dlcpose.tracking.slots import Exchanges

Array = npt.NDArray[Any]
ALL_ORDERS = 5  # animals up to which every assignment of names to slots is tried
REACH = 75  # steps, within which it is looked for where another solution parts from the best one, and comes back to it


class Naming(NamedTuple):
    """names: for each slot, the animal that each of its tracklets belongs to. is_exchanged: (E,) which exchanges are made.
    margins: (E,) nats, how much worse the best solution with the opposite decision is. since, until: (E,) the exchanges at
    which that solution parts from this one, and comes back to it; -1 where that is not within REACH steps, or never.
    first, second: (E,) the animals in the two slots before. cost: of the whole.
    """

    names: list[Array]
    is_exchanged: Array
    margins: Array
    since: Array
    until: Array
    first: Array
    second: Array
    cost: float


class _Step(NamedTuple):
    """The B kept assignments at an exchange. orders: (B, N) the animal in each slot. costs: (B,) up to here. gains: (B,)
    evidence counted since the exchange before, part of the costs. kept, exchanged: (B,) where each assignment stands after
    either decision, -1 where it was dropped.
    """

    orders: Array
    costs: Array
    gains: Array
    kept: Array
    exchanged: Array


def name_slots(
    slots: list[list[int]],
    evidence: Array,
    exchanges: Exchanges,
    *,
    beam: int,
    free_start: bool,
    max_margin: float = np.inf,
) -> Naming:
    """The cheapest assignment of animals to slots over time.

    slots: the tracklets of each of N slots. evidence: (S, N) cost in nats of tracklet s being animal n. free_start: whether
    any animal may begin in any slot; else animal n begins in slot n. max_margin: up to which `since` and `until` are
    looked for.
    Dynamic programming over assignments of animals to slots, which change only at exchanges; the `beam` cheapest are
    kept, and up to 5 animals with a beam of 120 the solution is exact.
    """
    totals = [np.concatenate([np.zeros((1, evidence.shape[1])), np.cumsum(evidence[slot], axis=0)]) for slot in slots]
    orders = _starts(totals, exchanges) if free_start else np.arange(len(slots))[None]
    costs = np.zeros(len(orders))
    counted = [0] * len(slots)
    steps: list[_Step] = []
    for number in range(len(exchanges)):
        gains = np.zeros(len(orders))
        for slot, place in _places(exchanges, number):
            gains += (totals[slot][place] - totals[slot][counted[slot]])[orders[:, slot]]
            counted[slot] = place
        step, orders, costs = _branch(orders, costs + gains, gains, exchanges, number, beam)
        steps.append(step)
    rest = np.zeros(len(orders))
    for slot, total in enumerate(totals):
        rest += (total[-1] - total[counted[slot]])[orders[:, slot]]
    return _trace([len(slot) for slot in slots], steps, orders, costs, rest, exchanges, max_margin)


def _places(exchanges: Exchanges, number: int) -> list[tuple[int, int]]:
    return [
        (int(exchanges.first_slot[number]), int(exchanges.first_place[number])),
        (int(exchanges.second_slot[number]), int(exchanges.second_place[number])),
    ]


def _starts(totals: list[Array], exchanges: Exchanges) -> Array:
    """Assignments to begin with: all for a few animals, else those that fit the slots best, at first or as a whole."""
    if len(totals) <= ALL_ORDERS:
        return np.array(list(permutations(range(len(totals)))))
    whole = np.stack([total[-1] for total in totals])
    until = np.array([len(total) - 1 for total in totals])
    for number in range(len(exchanges) - 1, -1, -1):
        for slot, place in _places(exchanges, number):
            until[slot] = place
    at_first = np.stack([total[place] for total, place in zip(totals, until, strict=True)])
    fits = [
        np.arange(len(totals)),
        *(linear_sum_assignment(fit)[1] for fit in (whole, at_first, at_first + 1e-3 * whole)),
    ]
    return np.unique(np.stack(fits), axis=0)


def _branch(
    orders: Array, costs: Array, gains: Array, exchanges: Exchanges, number: int, beam: int
) -> tuple[_Step, Array, Array]:
    """Both decisions for every assignment; of equal ones the cheapest, of all the `beam` cheapest."""
    a, b = int(exchanges.first_slot[number]), int(exchanges.second_slot[number])
    swapped = orders.copy()
    swapped[:, [a, b]] = orders[:, [b, a]]
    both = np.concatenate([orders, swapped])
    dear = np.concatenate([costs, costs + exchanges.costs[number]])
    # Rows are compared as they are: one number for each would overflow from 16 animals on. 16 bits are sorted faster.
    by_cost = np.lexsort((dear, *both.T.astype(np.int16)))
    is_first = np.concatenate([[True], (np.diff(both[by_cost], axis=0) != 0).any(axis=1)])
    group = np.empty(len(both), np.int64)
    group[by_cost] = np.cumsum(is_first) - 1
    cheapest = by_cost[is_first]  # of each group
    groups = np.argsort(dear[cheapest], kind="stable")[:beam]
    cheapest = cheapest[groups]
    place = np.full(len(both), -1)
    place[groups] = np.arange(len(groups))
    to = place[group]
    step = _Step(orders, costs, gains, to[: len(orders)], to[len(orders) :])
    return step, both[cheapest], dear[cheapest]


def _trace(
    lengths: list[int],
    steps: list[_Step],
    orders: Array,
    costs: Array,
    rest: Array,
    exchanges: Exchanges,
    max_margin: float,
) -> Naming:
    """Backward through the steps for the remaining costs, then forward along the best; rest: (B,) cost after the last."""
    best = float((costs + rest).min())
    choices: list[tuple[Array, Array]] = []  # remaining cost from each assignment, with either decision
    for number in range(len(steps) - 1, -1, -1):
        step = steps[number]
        after_kept = np.where(step.kept >= 0, rest[step.kept], np.inf)
        after_exchange = np.where(step.exchanged >= 0, rest[step.exchanged], np.inf) + exchanges.costs[number]
        choices.append((after_kept, after_exchange))
        rest = step.gains + np.minimum(after_kept, after_exchange)
    choices.reverse()
    start = (steps[0].costs - steps[0].gains if steps else costs) + rest
    current = int(start.argmin())
    names = [
        np.full(length, animal)
        for length, animal in zip(lengths, (steps[0].orders if steps else orders)[current], strict=True)
    ]
    first, second, made = (np.zeros(len(steps), np.int64) for _ in range(3))
    margins = np.zeros(len(steps))
    path = [current]  # the assignment before each exchange
    for number, step in enumerate(steps):
        kept, exchanged = choices[number]
        (slot_a, place_a), (slot_b, place_b) = _places(exchanges, number)
        first[number], second[number] = step.orders[current][[slot_a, slot_b]]
        made[number] = exchanged[current] < kept[current]
        margins[number] = float((step.costs + (kept if made[number] else exchanged)).min()) - best
        current = int((step.exchanged if made[number] else step.kept)[current])
        path.append(current)
        if made[number]:
            names[slot_a][place_a:], names[slot_b][place_b:] = second[number], first[number]
    since, until = np.full(len(steps), -1), np.full(len(steps), -1)
    for number in np.flatnonzero(margins <= max_margin).tolist():
        since[number], until[number] = _stretch(number, steps, choices, path, bool(made[number]), exchanges)
    return Naming(names, made.astype(bool), margins, since, until, first, second, best)


def _stretch(
    number: int,
    steps: list[_Step],
    choices: list[tuple[Array, Array]],
    path: list[int],
    made: bool,
    exchanges: Exchanges,
) -> tuple[int, int]:
    """The exchanges at which the best solution with the other decision at `number` parts from the best one and comes back.

    choices, path: as in `_trace`. made: the best decision. Each is -1 where it is not within REACH steps.
    """
    step, (after_kept, after_exchange) = steps[number], choices[number]
    there = int((step.costs + (after_kept if made else after_exchange)).argmin())
    since, before = number, there
    while before != path[since]:
        if since == 0 or exchanges.end[since - 1] < exchanges.begin[number] - REACH:
            since = -1
            break
        since -= 1
        before = _before(steps[since], before, float(exchanges.costs[since]))
    until, after = number, int((step.kept if made else step.exchanged)[there])
    while after != path[until + 1]:
        until += 1
        if until == len(steps) or exchanges.begin[until] > exchanges.end[number] + REACH:
            return since, -1
        kept, exchanged = choices[until]
        after = int((steps[until].exchanged if exchanged[after] < kept[after] else steps[until].kept)[after])
    return since, until


def _before(step: _Step, after: int, cost: float) -> int:
    """The assignment at an exchange from which one after it is reached at the least cost."""
    kept = np.where(step.kept == after, step.costs, np.inf)
    exchanged = np.where(step.exchanged == after, step.costs + cost, np.inf)
    return int(np.minimum(kept, exchanged).argmin())
