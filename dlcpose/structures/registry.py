"""Registries: parts that register themselves under a name, in modules of this package and in installed plugins.

A plugin is an installed package that names its module in its pyproject.toml under the registry's entry-point group:

    [project.entry-points."dlcpose.commands"]
    mylab = "mylab.my_command"
"""

import importlib
import importlib.metadata
import importlib.util
import logging
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from dlcpose.structures.errors import ConfigError

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=Any)


class Registry(Generic[T]):
    """Registered parts by name. group: the entry points of plugins. modules: those of this package that register parts.

    Modules and plugins are imported when the registry is first read, not before.
    """

    def __init__(self, group: str, modules: Sequence[str]) -> None:
        self.group, self.modules = group, modules
        self._registered: dict[str, T] = {}
        self._is_loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that registers a function or a class. Raises ConfigError when another one has the name."""

        def registered(part: T) -> T:
            before = self._registered.setdefault(name, part)
            if _place(before) != _place(part):
                raise ConfigError(
                    f"{self.group}: {name!r} is registered twice, by {_place(before)} and {_place(part)}."
                )
            self._registered[name] = part
            return part

        return registered

    def load(self) -> Mapping[str, T]:
        """All parts by name, in the order of their modules. A plugin that cannot be imported is left out with a warning."""
        if not self._is_loaded:
            for module in self.modules:
                importlib.import_module(module)
            for entry in importlib.metadata.entry_points(group=self.group):
                try:
                    entry.load()
                except Exception as error:  # a plugin may raise anything; built-in parts have to work without it
                    logger.warning("The plugin %s (%s) is left out: %s.", entry.name, entry.value, error)
            places = {module: place for place, module in enumerate(self.modules)}
            # The order must not depend on earlier imports, as the first part that fits may be taken.
            ordered = sorted(self._registered.items(), key=lambda item: places.get(item[1].__module__, len(places)))
            self._registered = dict(ordered)
            self._is_loaded = True
        return MappingProxyType(self._registered)


def modules_in(package: str) -> tuple[str, ...]:
    """The names of a package's modules, without importing them."""
    spec = importlib.util.find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    return tuple(module.name for module in pkgutil.iter_modules(folders, f"{package}.") if not module.ispkg)


def _place(part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__}"
