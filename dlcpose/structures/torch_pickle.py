"""Look through the pickle of a torch file before torch reads it: nothing in it is called.

torch lets a pickle call some functions only, but with any arguments: `bytearray(2**40)` takes all memory.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any

from dlcpose.structures.bounded_pickle import MAX_KEYS, BoundedUnpickler

PICKLES = 5  # in a file of torch before 1.6: a mark, a version, the system, the content, and names of storages
NEVER_NAMED = re.compile(r"(builtins|__builtin__)\.bytearray|torch\.(\w+\.)*\w*Tensor")  # by what torch.save writes
OF_MEMBERS = ("builtins.set", "__builtin__.set", "collections.Counter", "collections.OrderedDict")
ENCODINGS = ("latin1", "latin-1")  # that of bytes in old pickles; idna's takes the square of the length


def check_pickle(content: bytes) -> None:
    """Raises UnpicklingError for a pickle that takes more time or memory than the content of a torch file does."""
    _Looker(io.BytesIO(content), encoding="latin1").load()


def check_pickles(path: Path) -> None:
    """The same for a file of torch before 1.6, which begins with several."""
    with path.open("rb") as file:
        for _ in range(PICKLES):
            _Looker(file, encoding="latin1").load()


class _Looker(BoundedUnpickler):
    """Reads a pickle with blanks in place of everything that it names."""

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if NEVER_NAMED.fullmatch(path) and path != "torch.Tensor":  # the type of one with attributes
            raise pickle.UnpicklingError(f"it names {path[:80]}")
        return _Blank(path)

    def persistent_load(self, pid: Any) -> Any:
        if (
            not isinstance(pid, tuple)
            or self.size_of(pid) > MAX_KEYS
            or any(isinstance(each, tuple) for each in pid[:4])
        ):
            raise pickle.UnpicklingError("it holds a malformed tensor")
        return _Blank("")


def _called(looker: Any) -> None:
    """In place of making an instance: a call."""
    arguments, blank = looker.stack.pop(), looker.stack.pop()
    looker.append(blank(*arguments))


_Looker.dispatch = {**BoundedUnpickler.dispatch, pickle.NEWOBJ[0]: _called}


class _Blank:
    """In place of what a pickle names, makes or stores elsewhere."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, *arguments: Any) -> "_Blank":
        if self._path in OF_MEMBERS and not all(map(_has_plain_members, arguments)):
            raise pickle.UnpicklingError(f"it calls {self._path} with other values than plain ones")
        if self._path == "_codecs.encode" and not (
            len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] in ENCODINGS
        ):
            raise pickle.UnpicklingError("it encodes a text")
        if "Tensor" in self._path or "Storage" in self._path:
            raise pickle.UnpicklingError(f"it calls {self._path[:80]}")
        return _Blank("")

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, list):  # of pairs, whose first values would be keys
            raise pickle.UnpicklingError("it holds a malformed state")

    def __setitem__(self, key: Any, value: Any) -> None:
        """An entry of a mapping that is no plain one."""


def _has_plain_members(values: Any) -> bool:
    """Whether an argument is a mapping, or a list of texts and numbers, or of pairs with one of those first."""
    if not isinstance(values, list | tuple):
        return isinstance(values, dict)
    firsts = [each[0] if isinstance(each, list | tuple) and len(each) == 2 else each for each in values]
    return all(isinstance(each, str | int | float | None) for each in firsts)
