"""Bound what the interpolations of a stranger's config stand for, before anything resolves them.

OmegaConf resolves an interpolation again wherever it is referred to, and what it refers to as well: thirty lines of
`a: ${b}${b}` are a thousand million characters.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.base import Container
from omegaconf.errors import OmegaConfBaseException

from dlcpose.structures.errors import ConfigError

# Their parser takes 0.3 ms for an interpolation, and longer in long texts. All of conf/ has 2 000 characters of them.
LONGEST_TEXTS = 20_000  # characters in one file
# Characters and values of a config, those that interpolations stand for counted each time: the default config has 700.
MOST_RESOLVED = 20_000
AN_INTERPOLATION = 10  # what one counts for besides, for its time


def check_texts(value: Any, source: object) -> None:
    """Raises ConfigError for the content of a file with longer texts with interpolations than a config has."""
    length = sum(len(text) for text in _texts(value) if "${" in text)
    if length > LONGEST_TEXTS:
        raise ConfigError(
            f"{source}: expected at most {LONGEST_TEXTS} characters of values with interpolations (${{...}}), got {length}. "
            "Write the values themselves."
        )


@contextlib.contextmanager
def bounded_resolution() -> Iterator[None]:
    """Raises ConfigError where OmegaConf resolves more within it than a config has."""
    resolving = _Resolving()
    try:
        with resolving.counted():
            yield
    except Exception as error:
        if resolving.left < 0:
            raise _refusal("hydra") from error
        raise


def check_resolved(config: DictConfig) -> None:
    """Raises ConfigError where a config's interpolations stand for more than a config has. It is not changed."""
    resolving = _Resolving()
    with resolving.counted():
        for key in config:
            _visit(config, key, resolving)
            if resolving.left < 0:
                raise _refusal(str(key))


def _refusal(key: str) -> ConfigError:
    return ConfigError(
        f"{key}: the interpolations (${{...}}) up to here stand for more than {MOST_RESOLVED} characters and values, which "
        "no config needs. Look at what they refer to in the folder of options, and write the values themselves."
    )


class _TooMuchError(Exception):
    """More has been resolved than any config has; OmegaConf wraps it in an error of its own."""


class _Resolving:
    """How many more characters and values may be resolved."""

    def __init__(self) -> None:
        self.left = MOST_RESOLVED

    def begin(self) -> None:
        """Count an interpolation before what it refers to is resolved. Raises _TooMuchError after too many."""
        self.left -= AN_INTERPOLATION
        if self.left < 0:
            raise _TooMuchError

    def take(self, value: Any) -> None:
        """Raises _TooMuchError for a value that is too much after those before it."""
        waiting = [value]
        while waiting:
            each = waiting.pop()
            content = each._content if isinstance(each, Container) else each  # as it is written, with nothing resolved
            if isinstance(content, dict | list):
                waiting += content.values() if isinstance(content, dict) else content
            self.left -= 1 + len(str(content)) if isinstance(content, str) else 1
            if self.left < 0:
                raise _TooMuchError

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Within it, whatever OmegaConf resolves is counted."""
        select, call = Container._resolve_node_interpolation, Container._evaluate_custom_resolver

        def selected(*args: Any, **kwargs: Any) -> Any:
            self.begin()
            node = select(*args, **kwargs)
            self.take(node._value() if not isinstance(node, Container) else node)
            return node

        def called(*args: Any, **kwargs: Any) -> Any:
            self.begin()
            value = call(*args, **kwargs)
            self.take(value)
            return value

        Container._resolve_node_interpolation = selected  # type: ignore[method-assign]
        Container._evaluate_custom_resolver = called  # type: ignore[method-assign]
        try:
            yield
        finally:
            Container._resolve_node_interpolation = select  # type: ignore[method-assign]
            Container._evaluate_custom_resolver = call  # type: ignore[method-assign]


def _visit(parent: DictConfig | ListConfig, key: Any, resolving: _Resolving) -> None:
    """Resolve a value and all within it; one that cannot be resolved is told where the config is used."""
    try:
        resolving.take(None)
        value = None if OmegaConf.is_missing(parent, key) else parent[key]
    except (OmegaConfBaseException, _TooMuchError):
        return
    if isinstance(value, DictConfig | ListConfig) and not value._is_none():
        for inner in value if isinstance(value, DictConfig) else range(len(value)):
            if resolving.left < 0:
                return
            _visit(value, inner, resolving)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _texts(entry)
