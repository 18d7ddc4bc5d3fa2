"""Unpickle in bounded time and memory: a few bytes of a pickle may stand for more than can be gone through.

A tuple that holds a tuple twice, which holds another twice, ... takes ten bytes a level. Its hash, which Python computes
from all of it as soon as it is a key, is never done.
"""

import pickle
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

MAX_TUPLE = 1_000_000  # values in one tuple, with those in its tuples
MAX_KEYS = 1_000  # tuples among the keys of all mappings: Python's hash of numbers lets any number of them collide
MAX_BITS = 64  # of a number as a key, for the same reason
MAX_UNFOLDED = 20_000_000  # values in nested mappings and lists, each counted as often as it stands somewhere
MAX_DEPTH = 50  # of those; Lightning's checkpoints have less than ten levels


class BoundedUnpickler(pickle._Unpickler):
    """Python's own unpickler, not the one in C: that takes gigabytes for ten bytes with a large memo index.

    Raises UnpicklingError for what takes more time or memory than a file of plain values does.
    """

    stack: list[Any]
    append: Callable[[Any], None]

    def __init__(self, file: IO[bytes], **settings: Any) -> None:
        super().__init__(file, **settings)
        self._tuples: dict[int, tuple[Any, int]] = {}  # by id, with the number of values in each
        self._keys = 0

    def size_of(self, value: Any) -> int:
        """How many values there are in a tuple of the pickle, with those in its tuples; 1 for anything else."""
        return self._tuples[id(value)][1] if type(value) is tuple and id(value) in self._tuples else 1

    def check_keys(self, keys: Iterable[Any]) -> None:
        """Raises UnpicklingError for keys of mappings, or members of sets, whose hashes take long or may collide."""
        self._keys += sum(isinstance(key, tuple) for key in keys)
        if self._keys > MAX_KEYS:
            raise pickle.UnpicklingError(f"it has more than {MAX_KEYS} tuples as keys")
        for key in keys:
            if isinstance(key, int) and key.bit_length() > MAX_BITS:
                raise pickle.UnpicklingError(f"it has a number of more than {MAX_BITS} bits as a key")
            if self.size_of(key) > MAX_KEYS:
                raise pickle.UnpicklingError(f"it has a tuple of more than {MAX_KEYS} values as a key")

    def _push_tuple(self, items: list[Any]) -> None:
        size = 1 + sum(map(self.size_of, items))
        if size > MAX_TUPLE:
            raise pickle.UnpicklingError(f"a tuple in it stands for more than {MAX_TUPLE} values")
        made = tuple(items)
        self._tuples[id(made)] = made, size  # which keeps it, or another could get its id
        self.append(made)

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise pickle.UnpicklingError("it is cut short")
        items: list[Any] = self.stack[-count:]
        del self.stack[-count:]
        return items


def _tuple_of(count: int) -> Callable[[Any], None]:
    return lambda self: self._push_tuple(self._pop(count))


def _marked_tuple(self: Any) -> None:
    self._push_tuple(self.pop_mark())


def _with_keys(load: Callable[[Any], None], begin: int | None, step: int) -> Callable[[Any], None]:
    """An operation on a mapping or a set, after a look at the keys: values of the stack from `begin`, each `step`th."""

    def checked(self: Any) -> None:
        self.check_keys(self.stack[begin::step])
        load(self)

    return checked


def _load_bytearray(self: Any) -> None:
    """Python's own takes as much memory as the pickle says, before it reads."""
    (length,) = struct.unpack("<Q", self.read(8))
    content = self.read(length)
    if len(content) < length:
        raise pickle.UnpicklingError("it is cut short")
    self.append(bytearray(content))


def _refused(self: Any) -> None:
    raise pickle.UnpicklingError("it holds other values than plain ones")


def _bounded(loads: Mapping[int, Callable[[Any], None]]) -> dict[int, Callable[[Any], None]]:
    bounded = {
        pickle.BYTEARRAY8: _load_bytearray,
        pickle.TUPLE: _marked_tuple,
        **{each: _tuple_of(count) for count, each in enumerate((pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3), 1)},
        **{operation: _refused for operation in (pickle.FROZENSET, pickle.NEXT_BUFFER)},
        pickle.SETITEM: _with_keys(loads[pickle.SETITEM[0]], -2, 2),
        **{each: _with_keys(loads[each[0]], None, 2) for each in (pickle.SETITEMS, pickle.DICT)},
        pickle.ADDITEMS: _with_keys(loads[pickle.ADDITEMS[0]], None, 1),
    }
    return {**loads, **{operation[0]: load for operation, load in bounded.items()}}


BoundedUnpickler.dispatch = _bounded(pickle._Unpickler.dispatch)


def check_unfolded(content: Any) -> None:
    """Refuse nested mappings, lists and tuples that stand for more values than a file has: printing one would not end.

    Raises ValueError, too, for one that contains itself.
    """
    sizes: dict[int, int] = {}

    def measured(node: Any, depth: int) -> int:
        if not isinstance(node, Mapping | list | tuple):
            return 1
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
        if id(node) not in sizes:
            sizes[id(node)] = 1 + sum(measured(each, depth + 1) for each in _inner(node))
            if sizes[id(node)] > MAX_UNFOLDED:
                raise ValueError(f"it stands for more than {MAX_UNFOLDED} values")
        return sizes[id(node)]

    measured(content, 0)


def _inner(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        yield from node
        yield from node.values()
    else:
        yield from node
