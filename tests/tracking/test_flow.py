"""Joins of least cost, never more tracks at a time than animals: against every possibility, for small problems."""

from itertools import chain, combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.tracking import flow as module
from dlcpose.tracking.flow import Flow, Joins, join_tracklets

ABSENCE = 4.0


def problem(seed: int, tracklets: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray, Joins]:
    rng = np.random.default_rng(seed)
    first = np.sort(rng.integers(0, 10, tracklets))
    last = first + rng.integers(0, 4, tracklets)
    rewards = rng.uniform(0, 12, tracklets)
    pairs = [(i, j) for i in range(tracklets) for j in range(tracklets) if last[i] < first[j] and rng.random() < 0.7]
    before, after = np.array(pairs, np.int64).reshape(-1, 2).T
    return first, last, rewards, Joins(before, after, rng.uniform(0, 9, len(pairs)))


def cost_of(flow: Flow, first: np.ndarray, last: np.ndarray, rewards: np.ndarray, joins: Joins) -> float:
    costs = {(i, j): cost for i, j, cost in zip(joins.before.tolist(), joins.after.tolist(), joins.costs, strict=True)}
    total = -float(rewards[flow.is_used].sum())
    for track in flow.tracks():
        total += ABSENCE * (int(first[track[0]] > first.min()) + int(last[track[-1]] < last.max()))
        total += sum(costs[pair] for pair in pairwise(track))
    return total


def max_at_a_time(flow: Flow, first: np.ndarray, last: np.ndarray) -> int:
    spans = [(first[track[0]], last[track[-1]]) for track in flow.tracks()]
    return max((sum(low <= time <= high for low, high in spans) for time in range(30)), default=0)


def best_of_all(first: np.ndarray, last: np.ndarray, rewards: np.ndarray, joins: Joins, animals: int) -> float:
    """The least cost over every set of joins and every set of tracklets."""
    count = len(first)
    best = 0.0
    pairs = list(zip(joins.before.tolist(), joins.after.tolist(), strict=True))
    for size in range(min(len(pairs), count) + 1):
        for chosen in combinations(pairs, size):
            befores, afters = [i for i, _ in chosen], [j for _, j in chosen]
            if len(set(befores)) < size or len(set(afters)) < size:
                continue
            joined = set(befores) | set(afters)
            lone = [place for place in range(count) if place not in joined]
            following = np.full(count, -1)
            following[befores] = afters
            for number in range(2 ** len(lone)):
                used = joined | {place for bit, place in enumerate(lone) if number >> bit & 1}
                flow = Flow(np.isin(np.arange(count), list(used)), following)
                if max_at_a_time(flow, first, last) <= animals:
                    best = min(best, cost_of(flow, first, last, rewards, joins))
    return best


@given(st.integers(0, 100_000), st.integers(1, 3))
def test_no_other_choice_of_joins_costs_less(seed: int, animals: int) -> None:
    first, last, rewards, joins = problem(seed, tracklets=5)
    flow = join_tracklets(first, last, last - first + 1, rewards, joins, animals=animals, absence_cost=ABSENCE)
    assert max_at_a_time(flow, first, last) <= animals
    assert cost_of(flow, first, last, rewards, joins) == pytest.approx(
        best_of_all(first, last, rewards, joins, animals), abs=1e-6
    )


@given(st.integers(0, 100_000), st.integers(1, 4))
def test_tracks_never_overlap_themselves_and_never_are_too_many(seed: int, animals: int) -> None:
    first, last, rewards, joins = problem(seed, tracklets=40)
    flow = join_tracklets(first, last, last - first + 1, rewards, joins, animals=animals, absence_cost=ABSENCE)
    assert max_at_a_time(flow, first, last) <= animals
    for track in flow.tracks():
        assert all(last[i] < first[j] for i, j in pairwise(track))
    assert len(set(chain.from_iterable(flow.tracks()))) == flow.is_used.sum()


def test_blocks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two animals followed for long with gaps now and then, in ten places both broken at once; some false positives."""
    rng = np.random.default_rng(0)
    spans = [(begin + 3 * lane, begin + 96 - 2 * lane) for begin in range(0, 1000, 100) for lane in (0, 1)]
    spans += [(int(time), int(time) + 1) for time in rng.integers(0, 1000, 10)]
    first, last = np.array(sorted(spans)).T
    pairs = [(i, j) for i in range(len(first)) for j in range(len(first)) if 0 < first[j] - last[i] < 20]
    before, after = np.array(pairs).T
    joins = Joins(before, after, rng.uniform(1, 3, len(pairs)))
    rewards = 3.0 * (last - first + 1)
    whole = join_tracklets(first, last, last - first + 1, rewards, joins, animals=2, absence_cost=10)
    monkeypatch.setattr(module, "BLOCK", 6)
    cuts = module._cuts(first, last, last - first + 1, 2)
    assert len(cuts) >= 2
    blocks = join_tracklets(first, last, last - first + 1, rewards, joins, animals=2, absence_cost=10)
    np.testing.assert_array_equal(blocks.next, whole.next)
    np.testing.assert_array_equal(blocks.is_used, whole.is_used)
