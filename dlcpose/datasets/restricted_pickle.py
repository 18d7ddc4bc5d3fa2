"""Load pickles of plain values without running code.

DeepLabCut stores splits as pickles, and pandas the column names of h5 tables. Python's unpickler calls whatever a pickle
names, so that a file can run any code. Here each allowed name stands for a function of this module. numpy's own functions
are not allowed either: a forged dtype whose flags deny the objects it holds makes numpy read addresses that the file
chooses.
"""

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from dlcpose.structures.bounded_pickle import BoundedUnpickler, check_unfolded
from dlcpose.structures.errors import DataError

MAX_BYTES = 2**25
PLAIN_DTYPE = re.compile(r"[biufc]\d{1,2}|[SU]\d{1,6}")  # numbers and text, no pointers


def load_restricted_pickle(content: bytes, source: str) -> Any:
    """The containers, numbers, strings and numpy arrays in a pickle.

    source: the name of the file for errors. Raises DataError when the pickle holds anything else, is broken, or is larger
    than MAX_BYTES.
    """
    if len(content) > MAX_BYTES:
        raise DataError(f"{source}: expected a pickle of at most {MAX_BYTES} bytes, got {len(content)}.")
    try:
        value = _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
        check_unfolded(value)
        return value
    except Exception as error:  # a broken pickle can raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{source}: expected a pickle of plain values, got one that cannot be read safely ({reason})."
        ) from error


class _PlainUnpickler(BoundedUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


class _Callable:
    """A function that a pickle may call but not modify."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it tries to modify a function")


class _PlainDtype:
    """Replaces numpy.dtype: kind, size and byte order; anything else that a dtype can be is refused."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *_: object) -> None:
        self.code = str(code).lstrip("<>=|")
        self.order = "<"
        if not PLAIN_DTYPE.fullmatch(self.code) and self.code not in ("O", "O8"):
            raise pickle.UnpicklingError(f"it holds an array of {code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("it holds an array with fields")
        self.order = state[1]

    @property
    def holds_objects(self) -> bool:
        return self.code.startswith("O")

    def plain(self) -> np.dtype[Any]:
        if self.holds_objects:
            raise pickle.UnpicklingError("it holds objects where numbers were expected")
        return np.dtype(self.order + self.code)


class _PlainArray(np.ndarray[Any, Any]):
    """Replaces numpy.ndarray: filled only with numbers or text, or from a list of plain values."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _PlainDtype) or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise pickle.UnpicklingError("it holds a malformed array")
        if isinstance(content, str):  # written by Python 2
            content = content.encode("latin1")
        plain = np.dtype(object) if dtype.holds_objects else dtype.plain()
        # numpy does not check the length of a list of objects: it would read past its end.
        listed = dtype.holds_objects and isinstance(content, list) and len(content) == math.prod(shape)
        if not listed and (dtype.holds_objects or not isinstance(content, bytes)):
            raise pickle.UnpicklingError("it holds a malformed array")
        checked: Any = (1, tuple(shape), plain, bool(fortran), content)
        super().__setstate__(checked)


def _empty_array(*_: object) -> _PlainArray:
    return _PlainArray((0,), np.int8)


def _scalar(dtype: _PlainDtype, content: bytes | str) -> Any:
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, dtype.plain(), count=1)[0].item()


def _array_from_buffer(content: object, dtype: _PlainDtype, shape: tuple[int, ...], order: str, *_: object) -> Any:
    if not isinstance(content, bytes | bytearray):  # a number would stand for as many bytes
        raise pickle.UnpicklingError("it holds a malformed array")
    return np.frombuffer(bytes(content), dtype.plain()).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it uses the encoding {encoding!r}")
    return text.encode("latin1")


def _set(members: object = ()) -> set[Any]:
    if not isinstance(members, list | tuple) or not all(isinstance(each, str | int | float) for each in members):
        raise pickle.UnpicklingError("it holds a set of other values than numbers and texts")
    return set(members)


def _no_bytes() -> bytes:
    return b""  # empty bytes in old protocols


def _refuse(*_: object) -> Any:
    raise pickle.UnpicklingError("it calls a type")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Callable(_refuse),  # only named, as an argument of _reconstruct
    ("numpy", "dtype"): _Callable(_PlainDtype),
    ("_codecs", "encode"): _Callable(_encode),
    **{(module, "bytes"): _Callable(_no_bytes) for module in ("builtins", "__builtin__")},
    **{(module, "set"): _Callable(_set) for module in ("builtins", "__builtin__")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Callable(_empty_array) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Callable(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Callable(_array_from_buffer) for core in ("core", "_core")},
}
