"""Checked access to values of files: each is checked when it is read, and the error names the one that is wrong."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from dlcpose.structures.data_files import shown
from dlcpose.structures.errors import DataError, DlcposeError

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


def is_number(value: object) -> bool:
    """Whether a value is a finite number, NumPy's too, and no text or boolean."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def is_whole_number(value: object, least: int) -> bool:
    """Whether a value is a whole number, NumPy's too, of at least so much."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        return False
    return int(value) >= least


def _is_name(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
