"""Names in the order in which people count."""

import random

from hypothesis import given
from hypothesis import strategies as st

from dlcpose.structures.natural_order import natural_key


def test_names_are_sorted_by_the_numbers_in_them() -> None:
    expected = ["0", "2", "10", "lr-1e-05__seed-0", "lr-0.001__seed-2", "lr-0.001__seed-10", "lr-0.01__seed-0", "lr-x"]
    shuffled = random.Random(0).sample(expected, len(expected))
    assert sorted(shuffled, key=natural_key) == expected


@given(st.lists(st.text("01.e-a²٣", max_size=8), max_size=6), st.randoms())
def test_the_order_is_whole_and_the_same_whatever_comes_first(names: list[str], rng: random.Random) -> None:
    shuffled = rng.sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == sorted(names, key=natural_key)
