"""Checked access to arrays of numbers in files: the error names the record, or the coordinate, that is wrong."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.structures.checked_values import Fields
from dlcpose.structures.errors import DataError, DlcposeError

MAX_COORDINATE = 1e6  # px: farther coordinates are errors; float32 holds whole pixels up to here
MAX_AREA = MAX_COORDINATE**2


def numbers_of(record: Fields, name: str, count: int) -> npt.NDArray[np.float64]:
    """A record's list of `count` numbers, also in lists of lists; null is NaN. Infinite ones are refused, by its error."""
    value = record.content.get(name)
    try:
        numbers = np.array(value, np.float64).reshape(-1) if isinstance(value, list | tuple) else None
    except (TypeError, ValueError, OverflowError):
        numbers = None
    if numbers is None or np.isinf(numbers).any() or holds_text(value):
        raise record.refuse(name, f"{count} numbers")
    if len(numbers) != count:
        raise record.error(f"{record.where}: it has {len(numbers)} numbers under {name!r}, expected {count}.")
    return numbers


def numbers_of_each(records: Sequence[Fields], name: str, count: int) -> npt.NDArray[np.float64]:
    """`numbers_of` each record: (R, count). Raises its error for the first record that has others."""
    values: list[Any] = [record.content.get(name) for record in records]
    if all(isinstance(value, list) and len(value) == count for value in values) and (
        {int, float, NoneType}.issuperset(map(type, chain.from_iterable(values)))
    ):
        with suppress(OverflowError):  # a whole number of hundreds of digits
            numbers = np.array(values, np.float64).reshape(len(records), count)
            if not np.isinf(numbers).any():
                return numbers
    return np.array([numbers_of(record, name, count) for record in records]).reshape(len(records), count)


def holds_text(value: object) -> bool:
    """Whether there is a text or boolean among numbers, also in lists of lists, which NumPy would convert."""
    if not isinstance(value, list | tuple):
        return isinstance(value, str | bytes | bool)
    kinds = set(map(type, value))  # few, where there are millions of numbers
    return not kinds.isdisjoint((str, bytes, bool)) or (
        not kinds.isdisjoint((list, tuple)) and any(map(holds_text, value))
    )


def check_places(points: npt.NDArray[Any], where: str, error: type[DlcposeError] = DataError) -> None:
    """Raises `error` for coordinates that no image has; NaN is a missing one."""
    far = points[_is_far(points)]
    if len(far):
        raise error(
            f"{where}: {far[0]:g} is no place in an image. Expected pixels up to {MAX_COORDINATE:g}; empty the cell, or "
            "correct it."
        )


def check_places_of_each(records: Sequence[Fields], points: npt.NDArray[Any]) -> None:
    """`check_places` of each record's points: (R, P, 2)."""
    for row in np.flatnonzero(_is_far(points).any(axis=(1, 2))).tolist():
        check_places(points[row], records[row].where, records[row].error)


def _is_far(points: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        is_far: npt.NDArray[np.bool_] = np.abs(points) > MAX_COORDINATE
    return is_far
