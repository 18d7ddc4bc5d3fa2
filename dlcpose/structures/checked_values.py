"""Checked access to values of files: each is checked when it is read, and the error names the one that is wrong."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.structures.data_files import shown
from dlcpose.structures.errors import DataError, DlcposeError

MAX_COORDINATE = 1e6  # px: farther coordinates are errors; float32 holds whole pixels up to here
MAX_AREA = MAX_COORDINATE**2
MAX_WHOLE = 2**53  # float64 holds all whole numbers up to here


class Fields:
    """A mapping of a file. where: its place for errors, such as `labels.json: annotation 3`.

    Methods return a value of the expected type within its bounds, or raise `error`. null counts as absent.
    """

    def __init__(self, content: object, where: str, error: type[DlcposeError] = DataError) -> None:
        self.where, self.error = where, error
        if not isinstance(content, Mapping):
            raise error(f"{where}: expected names with values, got {shown(content)}.")
        self.content: Mapping[Any, Any] = content

    def has(self, name: str) -> bool:
        """Whether there is a value other than null."""
        return self.content.get(name) is not None

    def refuse(self, name: str, expected: str) -> DlcposeError:
        """The error for an unexpected value."""
        if not self.has(name):
            return self.error(f"{self.where}: it lacks {name!r}. Expected {expected}.")
        return self.error(f"{self.where}: expected {expected} under {name!r}, got {shown(self.content[name])}.")

    def text(self, name: str, default: str | None = None) -> str:
        """A text; numbers are converted."""
        value = self.content.get(name, default)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.refuse(name, "a text")
        return str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of names; none where absent."""
        values = self.content.get(name)
        if values is None:
            return ()
        if not isinstance(values, list | tuple) or not all(_is_name(value) for value in values):
            raise self.refuse(name, "a list of names")
        return tuple(str(value) for value in values)

    def whole(self, name: str, *, minimum: int = 0, maximum: int = MAX_WHOLE, default: int | None = None) -> int:
        """A whole number; 96.0 is one."""
        value = self.content.get(name)
        value = default if value is None else value
        is_whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
        if not is_whole or not minimum <= value <= maximum:  # type: ignore[operator]
            raise self.refuse(name, f"a whole number from {minimum}{'' if maximum == MAX_WHOLE else f' to {maximum}'}")
        return int(value)  # type: ignore[arg-type]

    def number(self, name: str, *, minimum: float, maximum: float, default: float | None = None) -> float:
        """A finite number."""
        value = self.content.get(name)
        value = default if value is None else value
        if not is_number(value) or not minimum <= float(value) <= maximum:  # type: ignore[arg-type]
            raise self.refuse(name, f"a number from {minimum:g} to {maximum:g}")
        return float(value)  # type: ignore[arg-type]

    def mapping(self, name: str) -> "Fields":
        """A mapping within this one; an empty one where absent."""
        value = self.content.get(name)
        return Fields({} if value is None else value, f"{self.where}: {name}", self.error)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """true or false, 1 or 0."""
        value = self.content.get(name)
        value = default if value is None else value
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise self.refuse(name, "true or false")
        return bool(value)

    def numbers(self, name: str, count: int) -> npt.NDArray[np.float64]:
        """A list of `count` numbers, also in lists of lists; null is NaN. Infinite ones are refused."""
        value = self.content.get(name)
        try:
            numbers = np.array(value, np.float64).reshape(-1) if isinstance(value, list | tuple) else None
        except (TypeError, ValueError, OverflowError):
            numbers = None
        if numbers is None or np.isinf(numbers).any() or holds_text(value):
            raise self.refuse(name, f"{count} numbers")
        if len(numbers) != count:
            raise self.error(f"{self.where}: it has {len(numbers)} numbers under {name!r}, expected {count}.")
        return numbers

    def index_pairs(
        self, name: str, names: tuple[str, ...], kind: str, *, first: int = 0
    ) -> tuple[tuple[int, int], ...]:
        """Pairs of two keypoints each, by their numbers from `first` or by their names; from 0 in the result.

        kind: what a pair is called in errors.
        """
        values = self.content.get(name)
        if values is None:
            return ()
        last = first + len(names) - 1
        if not isinstance(values, list | tuple):
            raise self.refuse(name, "a list of pairs")
        places: dict[Any, int] = {number: number - first for number in range(first, last + 1)}
        places |= {text: place for place, text in enumerate(names)}
        pairs = []
        for pair in values:
            is_pair = isinstance(pair, list | tuple) and len(pair) == 2
            if not is_pair or not all(
                isinstance(one, str | int | float) and not isinstance(one, bool) and one in places for one in pair
            ):
                raise self.error(
                    f"{self.where}: {name} has {shown(pair)}. Expected two numbers from {first} to {last} for each {kind}, "
                    "or the names of two keypoints."
                )
            pairs.append((places[pair[0]], places[pair[1]]))
        return tuple(pairs)


def numbers_of_each(records: Sequence[Fields], name: str, count: int) -> npt.NDArray[np.float64]:
    """`Fields.numbers` of each record: (R, count). Raises its error for the first record that has others."""
    values: list[Any] = [record.content.get(name) for record in records]
    if all(isinstance(value, list) and len(value) == count for value in values) and (
        {int, float, NoneType}.issuperset(map(type, chain.from_iterable(values)))
    ):
        with suppress(OverflowError):  # a whole number of hundreds of digits
            numbers = np.array(values, np.float64).reshape(len(records), count)
            if not np.isinf(numbers).any():
                return numbers
    return np.array([record.numbers(name, count) for record in records]).reshape(len(records), count)


def is_number(value: object) -> bool:
    """Whether a value is a finite number, NumPy's too, and no text or boolean."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def is_whole_number(value: object, least: int) -> bool:
    """Whether a value is a whole number, NumPy's too, of at least so much."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def _is_name(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


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
