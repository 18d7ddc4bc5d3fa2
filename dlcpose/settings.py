"""Check a part's settings against the types in its signature, and against bounds where the config is not the user's own."""

import collections.abc
import inspect
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlcpose.structures.errors import ConfigError
from dlcpose.structures.setting_bounds import OF_OTHERS, outside_bounds

PLAIN = (int, float, bool, str, type(None))
# Limits for settings from an untrusted file: larger ones would only take memory and time.
MAX_INT, MAX_DATA, MAX_SEED, MAX_TEXT, MAX_ITEMS, MAX_DEPTH = 16_384, 1_000_000, 2**32, 4_096, 10_000, 12


def check_types(target: Any, settings: Mapping[str, Any], where: str, *, strict: bool = False) -> None:
    """Raises ConfigError for a setting of another type than is annotated.

    strict: for settings from an untrusted file: every setting must be plain, bounded and of an annotated type.
    """
    called = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(called)
    except (NameError, AttributeError, TypeError):  # annotations that exist for type checkers only
        hints = {}
    is_ours = str(getattr(target, "__module__", "")).startswith("dlcpose.")
    for name, value in settings.items():
        is_name = str in (typing.get_args(hints.get(name)) or (hints.get(name),))  # that may be written as a number
        is_bounded = (is_ours and not is_name) or name in OF_OTHERS
        if is_bounded and (expected := outside_bounds(name, value)) is not None:
            raise ConfigError(f"{where}.{name}: expected {expected}, got {_shown(value)}.")
        hint = hints.get(name, Any)
        if not (is_ours or strict or _is_plain(hint)):
            continue  # other packages' annotations say less than they take
        if not _fits(value, hint):
            raise ConfigError(f"{where}.{name}: expected {_named(hint)}, got {_shown(value)}.")
        if strict:
            check_bounded(value, f"{where}.{name}")


def check_bounded(value: Any, where: str, depth: int = 0) -> None:
    """Raises ConfigError for a value of a config that is not plain, or larger than any model needs."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"{where}: nested deeper than {MAX_DEPTH}, which no setting of a model is.")
    if isinstance(value, Mapping):
        entries: list[tuple[str, Any]] = [(f"{where}.{str(key)[:80]}", entry) for key, entry in value.items()]
    elif isinstance(value, (list, tuple)):
        entries = [(f"{where}[{index}]", entry) for index, entry in enumerate(value[: MAX_ITEMS + 1])]
    else:
        _check_scalar(value, where)
        return
    if len(entries) > MAX_ITEMS:
        raise ConfigError(f"{where}: expected at most {MAX_ITEMS} entries, got {len(value)}.")
    for name, entry in entries:
        if name.rpartition(".")[2].startswith("pretrained") and entry:
            raise ConfigError(f"{name}: a checkpoint has its own weights and names no others.")
        check_bounded(entry, name, depth + 1)


def _check_scalar(value: Any, where: str) -> None:
    if type(value) not in PLAIN:
        raise ConfigError(f"{where}: expected a number, a text, true, false or null, got {type(value).__name__}.")
    name = where.rpartition(".")[2]
    is_of_data = where.startswith("dataset.")
    most = MAX_SEED if name == "seed" else MAX_DATA if is_of_data else MAX_INT
    if isinstance(value, int) and abs(value) > most:
        raise ConfigError(f"{where}: expected at most {most}, got {_shown(value)}.")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise ConfigError(f"{where}: expected a text of at most {MAX_TEXT} characters, got {len(value)}.")


def _is_plain(hint: Any) -> bool:
    """Whether an annotation is of plain types only."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return all(kind in PLAIN for kind in (typing.get_args(hint) if is_union else (hint,)))


def _fits(value: Any, hint: Any) -> bool:
    """Whether a config value fits an annotation; a node that is still to be instantiated fits any annotation of objects."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, kind) for kind in inner)
    if hint is Any or hint is inspect.Parameter.empty:
        return True
    if hint in PLAIN:
        is_number_for_float = hint is float and type(value) is int
        return type(value) is hint or is_number_for_float
    if hint is Path:
        return isinstance(value, str | Path)
    if origin is typing.Literal:
        return value in inner
    if origin is not None and issubclass(origin, collections.abc.Mapping):
        return isinstance(value, Mapping) and all(_fits(entry, inner[-1]) for entry in value.values())
    if origin is tuple and inner and inner[-1] is not ...:
        is_list = isinstance(value, list | tuple) and len(value) == len(inner)
        return is_list and all(_fits(one, kind) for one, kind in zip(value, inner, strict=True))
    is_list = origin in (list, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
    if is_list and isinstance(value, list | tuple):
        return all(_fits(one, inner[0]) for one in value)
    return (isinstance(value, Mapping) and "_target_" in value) or not isinstance(value, (*PLAIN, Mapping, list))


def _named(hint: Any) -> str:
    """An annotation as users write it in a config."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    names = ["null" if kind is type(None) else _of_one(kind) for kind in kinds]
    return " or ".join(dict.fromkeys(names))


def _of_one(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    if origin is not None and origin is not collections.abc.Callable:
        inner = [entry for entry in typing.get_args(kind) if entry is not ...]
        what = "mapping" if issubclass(origin, collections.abc.Mapping) else "list"
        return f"a {what} of {_named(inner[-1])}" if inner else f"a {what}"
    return str(getattr(kind, "__name__", kind)) if kind in PLAIN else "a part with a _target_"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
