"""Who is in which slot: against every sequence of decisions, for small problems."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.tracking.naming import Naming, name_slots
from dlcpose.tracking.slots import Exchanges, exchanges_of, fill_slots

Problem = tuple[list[list[int]], np.ndarray, Exchanges]


def problem(seed: int, animals: int = 3, exchanges: int = 5) -> Problem:
    """Slots of six tracklets that all end and begin together; at each of the five breaks, two may exchange."""
    rng = np.random.default_rng(seed)
    slots = [list(range(slot * 6, slot * 6 + 6)) for slot in range(animals)]
    evidence = rng.uniform(0, 3, (animals * 6, animals))
    pairs = np.sort(np.stack([rng.permutation(animals)[:2] for _ in range(exchanges)]), axis=1)
    places = np.sort(rng.integers(1, 6, exchanges))
    costs = rng.uniform(-1, 4, exchanges)
    return slots, evidence, Exchanges(pairs[:, 0], pairs[:, 1], places, places, costs, places * 10, places * 10 + 1)


def cost_of(decisions: tuple[bool, ...], start: tuple[int, ...], case: Problem) -> float:
    slots, evidence, exchanges = case
    order = list(start)
    total, counted = 0.0, [0] * len(slots)
    for number, is_exchanged in enumerate(decisions):
        a, b, place = exchanges.first_slot[number], exchanges.second_slot[number], exchanges.first_place[number]
        for slot in (a, b):
            total += evidence[slots[slot][counted[slot] : place], order[slot]].sum()
            counted[slot] = place
        if is_exchanged:
            order[a], order[b] = order[b], order[a]
            total += exchanges.costs[number]
    return total + sum(evidence[slot[counted[n] :], order[n]].sum() for n, slot in enumerate(slots))


def all_costs(case: Problem, starts: list[tuple[int, ...]]) -> dict[tuple[bool, ...], float]:
    count = len(case[2])
    return {each: min(cost_of(each, start, case) for start in starts) for each in product((False, True), repeat=count)}


@given(st.integers(0, 100_000), st.booleans())
def test_no_other_sequence_of_exchanges_costs_less(seed: int, free_start: bool) -> None:
    case = problem(seed)
    starts = list(permutations(range(3))) if free_start else [(0, 1, 2)]
    costs = all_costs(case, starts)
    naming = name_slots(*case, beam=1000, free_start=free_start)
    assert naming.cost == pytest.approx(min(costs.values()))
    assert costs[tuple(naming.is_exchanged.tolist())] == pytest.approx(naming.cost)


@given(st.integers(0, 100_000))
def test_a_margin_is_what_the_other_decision_costs_at_least(seed: int) -> None:
    case = problem(seed)
    costs = all_costs(case, [(0, 1, 2)])
    naming = name_slots(*case, beam=1000, free_start=False)
    for number, made in enumerate(naming.is_exchanged.tolist()):
        other = min(cost for decisions, cost in costs.items() if decisions[number] != made)
        assert naming.margins[number] == pytest.approx(other - naming.cost)


def orders_of(decisions: tuple[bool, ...], exchanges: Exchanges) -> list[list[int]]:
    """Who is in each slot before each exchange, and after the last."""
    orders = [[0, 1, 2]]
    for a, b, is_exchanged in zip(exchanges.first_slot, exchanges.second_slot, decisions, strict=True):
        order = list(orders[-1])
        if is_exchanged:
            order[a], order[b] = order[b], order[a]
        orders.append(order)
    return orders


@given(st.integers(0, 100_000))
def test_another_solution_differs_from_the_best_between_two_exchanges(seed: int) -> None:
    case = problem(seed)
    costs = all_costs(case, [(0, 1, 2)])
    naming = name_slots(*case, beam=1000, free_start=False)
    best = orders_of(tuple(naming.is_exchanged.tolist()), case[2])
    for number, made in enumerate(naming.is_exchanged.tolist()):
        decisions = min((each for each in costs if each[number] != made), key=costs.__getitem__)
        other = orders_of(decisions, case[2])
        differs = [one != two for one, two in zip(best, other, strict=True)]  # before each exchange
        since = next(each for each in range(number, -1, -1) if not differs[each])
        until = next((each for each in range(number, len(decisions)) if not differs[each + 1]), -1)
        assert (naming.since[number], naming.until[number]) == (since, until)


@given(st.integers(0, 100_000))
def test_where_another_solution_parts_and_comes_back_far_away_is_not_looked_for(seed: int) -> None:
    slots, evidence, exchanges = problem(seed)
    near = name_slots(slots, evidence, exchanges, beam=1000, free_start=False)
    apart = replace(exchanges, begin=exchanges.begin * 1000, end=exchanges.begin * 1000 + 1)
    far = name_slots(slots, evidence, apart, beam=1000, free_start=False)
    none = name_slots(slots, evidence, exchanges, beam=1000, free_start=False, max_margin=-1.0)
    is_same_time = exchanges.begin[near.since] == exchanges.begin
    np.testing.assert_array_equal(far.since, np.where(is_same_time, near.since, -1))
    assert (none.since == -1).all()
    assert (none.until == -1).all()


@given(st.integers(0, 100_000))
def test_at_every_time_each_animal_is_in_one_slot(seed: int) -> None:
    naming: Naming = name_slots(*problem(seed, animals=4, exchanges=9), beam=1000, free_start=True)
    for time in range(6):
        assert sorted(int(names[time]) for names in naming.names) == [0, 1, 2, 3]


@pytest.mark.parametrize("animals", [6, 24, 32, 40])
def test_many_animals_that_exchange_are_told_apart_in_every_slot(animals: int) -> None:
    """Neighboring slots exchange one pair after the other, and the evidence says of every tracklet whose it is."""
    slots = [[2 * slot, 2 * slot + 1] for slot in range(animals)]
    first = np.arange(0, animals, 2)
    gt = np.arange(animals)[:, None].repeat(2, axis=1)
    gt[:, 1] = np.arange(animals).reshape(-1, 2)[:, ::-1].reshape(-1)
    evidence = np.full((2 * animals, animals), 10.0)
    evidence[np.arange(2 * animals), gt.reshape(-1)] = 0
    times, places = np.arange(len(first)), np.ones(len(first), np.int64)
    for pair in range(len(first)):  # one exchange at a time: the beam is never full
        here = slice(pair, pair + 1)
        exchanges = Exchanges(
            first[here], first[here] + 1, places[:1], places[:1], np.ones(1), times[:1], times[:1] + 1
        )
        naming = name_slots(slots, evidence, exchanges, beam=200, free_start=False)
        assert naming.is_exchanged.tolist() == [True]
        for slot in (2 * pair, 2 * pair + 1):
            assert naming.names[slot].tolist() == gt[slot].tolist()


def distance(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.abs(PLACES[after] - PLACES[before]).astype(float)


# Two animals at 0 and 10; a third tracklet of the first slot begins where the second slot's animal was.
PLACES = np.array([0.0, 10.0, 10.0, 0.0])
FIRST, LAST = np.array([0, 0, 12, 12]), np.array([10, 10, 20, 20])


def test_slots_exchange_where_both_are_between_two_tracklets() -> None:
    found = exchanges_of([[0, 2], [1, 3]], FIRST, LAST, distance, absence_cost=50, limit=30)
    assert len(found) == 1
    assert found.costs[0] == -20
    assert (found.first_place[0], found.second_place[0], found.begin[0], found.end[0]) == (1, 1, 10, 12)


def test_an_animal_that_is_away_may_be_the_one_that_comes_back() -> None:
    """Slot 0 ends with tracklet 0; tracklet 2 in slot 1 lies where that animal was, and tracklet 1 is never seen again."""
    places = np.array([10.0, 0.0, 10.0])

    def costs(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return np.abs(places[after] - places[before]).astype(float)

    found = exchanges_of([[0], [1, 2]], FIRST[:3], LAST[:3], costs, absence_cost=50, limit=30)
    assert found.costs.tolist() == [-10]


def test_a_track_goes_on_in_the_free_slot_where_it_costs_least() -> None:
    tracks = [[0], [1], [2], [3]]
    assert fill_slots(tracks, FIRST, LAST, distance, animals=2) == [[0, 3], [1, 2]]
