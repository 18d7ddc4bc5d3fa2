"""Pickles that hold nothing but plain values, read so that they cannot run anything.

DeepLabCut keeps its splits as pickles, and pandas the column names of h5 tables. Python's reader calls whatever a pickle
names, so a stranger's file could do anything. Here every name it may use is answered by a function of this file. numpy's
own pieces are not handed out either: a forged dtype whose flags deny the objects it holds makes numpy follow addresses
of the file's choosing.
"""

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from dlcpose.structures.errors import DataError

PLAIN_DTYPE = re.compile(r"[biufc]\d{1,2}|[SU]\d{1,6}")  # numbers and text, nothing that points anywhere


def load_restricted_pickle(content: bytes, source: str) -> Any:
    """The containers, numbers, strings and numpy arrays in a pickle.

    source: how the error calls the file. Raises DataError when the pickle holds anything else or is broken.
    """
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a broken pickle raises whatever its bytes happen to ask for
        raise DataError(
            f"{source}: expected a pickle of plain values, got one that cannot be read safely ({error})."
        ) from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


class _Answer:
    """A function that a pickle may call but not change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it tries to change a function")


class _PlainDtype:
    """Stands for numpy.dtype: keeps the kind, size and byte order, and refuses all else that a dtype can be."""

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
    """Stands for numpy.ndarray: filled only with numbers or text, or from a list of what the pickle plainly holds."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _PlainDtype) or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise pickle.UnpicklingError("it holds a malformed array")
        if isinstance(content, str):  # written by Python 2
            content = content.encode("latin1")
        plain = np.dtype(object) if dtype.holds_objects else dtype.plain()
        # numpy believes the length of a list of objects without counting: it would read past the end.
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


def _array_from_buffer(content: bytes, dtype: _PlainDtype, shape: tuple[int, ...], order: str, *_: object) -> Any:
    return np.frombuffer(bytes(content), dtype.plain()).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""  # how old protocols write bytes of no length


def _refuse(*_: object) -> Any:
    raise pickle.UnpicklingError("it calls a type")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Answer(_refuse),  # only named, as an argument of _reconstruct
    ("numpy", "dtype"): _Answer(_PlainDtype),
    ("_codecs", "encode"): _Answer(_encode),
    **{(module, "bytes"): _Answer(_no_bytes) for module in ("builtins", "__builtin__")},
    **{(module, "set"): _Answer(set) for module in ("builtins", "__builtin__")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Answer(_empty_array) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Answer(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Answer(_array_from_buffer) for core in ("core", "_core")},
}
