from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.structures.checked_arrays import check_places_of_each, numbers_of, numbers_of_each
from dlcpose.structures.checked_values import Fields
from dlcpose.structures.errors import DataError

COUNT = 3
NUMBERS = st.none() | st.integers(-9, 9) | st.floats(-9, 9) | st.just(np.nan)
VALUES = st.lists(NUMBERS, min_size=COUNT, max_size=COUNT)
UNUSUAL = st.sampled_from([None, "3", [], [1, 2], [1, 2, "3"], [1, 2, True], [1, 2, 10**400], [1, 2, float("inf")], 7])


def records(values: list[Any]) -> list[Fields]:
    return [Fields({"numbers": value}, f"record {place}") for place, value in enumerate(values)]


@given(st.lists(VALUES))
def test_numbers_of_many_records_are_those_of_each(values: list[Any]) -> None:
    each = [numbers_of(record, "numbers", COUNT) for record in records(values)]
    many = numbers_of_each(records(values), "numbers", COUNT)
    assert many.shape == (len(values), COUNT)
    np.testing.assert_array_equal(many, np.array(each).reshape(-1, COUNT))


def test_lists_of_lists_are_numbers_too() -> None:
    flat, nested = [1, 2, None], [[1, 2, 3]]
    np.testing.assert_array_equal(
        numbers_of_each(records([flat, nested]), "numbers", COUNT), [[1, 2, np.nan], [1, 2, 3]]
    )


@given(before=st.lists(VALUES, max_size=3), wrong=UNUSUAL, after=st.lists(VALUES | UNUSUAL, max_size=3))
def test_the_first_record_with_other_values_is_named(before: list[Any], wrong: Any, after: list[Any]) -> None:
    with pytest.raises(DataError, match=f"record {len(before)}: ") as of_many:
        numbers_of_each(records([*before, wrong, *after]), "numbers", COUNT)
    with pytest.raises(DataError) as of_one:
        numbers_of(records([*before, wrong])[-1], "numbers", COUNT)
    assert str(of_many.value) == str(of_one.value)


def test_the_first_record_with_a_point_far_from_every_image_is_named() -> None:
    points = np.zeros((3, 2, 2))
    points[0, 0] = np.nan
    check_places_of_each(records([None] * 3), points)
    points[1:, 1, 0] = -3e6
    with pytest.raises(DataError, match="record 1: "):
        check_places_of_each(records([None] * 3), points)
