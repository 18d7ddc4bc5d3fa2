"""From a config node to an object: the one place where a `_target_` is followed.

A config is plain dictionaries and lists (a checkpoint holds it as text), so a model is built from a checkpoint without
Hydra. What hydra.utils.instantiate does is not enough here: it follows any path into any package, passes arguments
through OmegaConf, which turns a Skeleton into a DictConfig, and explains a misspelled setting with a traceback.
"""

import difflib
import functools
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException

from dlcpose.model_groups import Place, model_groups
from dlcpose.settings import check_types
from dlcpose.structures.errors import ConfigError, DlcposeError
from dlcpose.targets import PLACES

NO_PLACE = Place()
# Where a part may write, under what name and as part of which sweep: set by the run, never by a config.
RESERVED = ("run_dir", "run_name", "sweep_name")
KEYWORDS = ("_target_", "_partial_")


@dataclass(frozen=True)
class Instantiator:
    """Builds what config nodes describe. trust: the user's own packages that may be named besides dlcpose's.

    Calling it with a node and the node's place returns the object: a mapping with `_target_` is called with its other
    entries (or bound to them where `_partial_` is true), any other mapping or list is built entry by entry. The whole
    node is checked before anything of it is called. source: the file that the config comes from, where that is a
    checkpoint: then only `groups` may be built, of settings that are plain and bounded. own: groups that the user chose
    in the command, in place of the checkpoint's. Raises ConfigError for a target that may not stand in its place, and
    for a setting that it does not take.
    """

    trust: tuple[str, ...] = ()
    source: str | None = None
    groups: tuple[str, ...] = tuple(PLACES)
    own: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for package in self.trust:
            name = package.partition(".")[0]
            # One that is imported already may have no place, as a notebook (__main__).
            if not name or (name not in sys.modules and importlib.util.find_spec(name) is None):
                raise ConfigError(
                    f"trust=[{package}]: no such package can be imported here. Correct its name, or install it."
                )

    def of_file(self, source: object, *groups: str, own: Sequence[str] = ()) -> "Instantiator":
        """An Instantiator for the config in a checkpoint: only parts of a model, and the groups that are named."""
        model = ("pipeline", *(group.name for group in model_groups()))
        return Instantiator(self.trust, str(source), (*model, *groups, *own), tuple(own))

    def __call__(self, node: Any, where: str) -> Any:
        group, *names = where.split("[")[0].split(".")
        place = PLACES.get(group, NO_PLACE)
        if group in PLACES and group not in self.groups and _has_target(node):
            raise ConfigError(
                f"{where}: {self.source} is a checkpoint, which may not bring a {group} along. Choose one with {group}=..."
            )
        several = place.several and not names
        for name in names[1:] if place.several else names:
            place = PLACES.get(place.inner.get(name, ""), NO_PLACE)
        strict = self.source is not None and group not in self.own
        self._check(node, where, place, strict=strict, several=several)
        return self._build(node, where)

    def _check(self, node: Any, where: str, place: Place, *, strict: bool, several: bool = False) -> None:
        """Raises ConfigError where anything in a node may not be built, before anything is called."""
        if isinstance(node, (list, tuple)):
            for index, value in enumerate(node):
                self._check(value, f"{where}[{index}]", place, strict=strict)
            return
        if not isinstance(node, Mapping):
            return
        settings = {key: value for key, value in node.items() if key not in KEYWORDS}
        if "_target_" in node:
            target = self._target(node["_target_"], where, place)
            _check_names(target, settings, where)
            check_types(target, settings, where, strict=strict)
        for key, value in settings.items():
            if "_target_" in node and str(key) in place.inner and isinstance(value, str):
                raise ConfigError(f"{where}.{key}: expected a part with a _target_, got {value!r}.")
            inner = place if several else PLACES.get(place.inner.get(str(key), ""), NO_PLACE)
            self._check(value, f"{where}.{key}", inner, strict=strict, several=inner.several and not several)

    def _build(self, node: Any, where: str) -> Any:
        """The object that a checked node describes."""
        if isinstance(node, Mapping):
            built = {key: self._build(value, f"{where}.{key}") for key, value in node.items() if key not in KEYWORDS}
            if "_target_" not in node:
                return built
            late = functools.partial(_imported(str(node["_target_"]), where), **built)
            return late if node.get("_partial_", False) else complete(late, where)
        if isinstance(node, (list, tuple)):
            return [self._build(value, f"{where}[{index}]") for index, value in enumerate(node)]
        return node

    def _target(self, path: Any, where: str, place: Place) -> Any:
        path = str(path)
        if _within(path, self.trust):
            found = _imported(path, where)
            # A path may enter a package and leave it again (mylab.os.system): where the thing was defined counts.
            if not _within(found.__module__ or "", self.trust):
                raise ConfigError(
                    f"{where}._target_: {path} is defined in {found.__module__}, which is not trusted. Name something that "
                    f"is defined in {', '.join(self.trust)}."
                )
            return found
        is_named, is_own = path in place.names, place.own is not None and _within(path, (place.own,))
        if not (is_named or is_own):
            raise ConfigError(_refusal(path, where, place, self.source))
        found = _imported(path, where)  # a module of ours, or one that is named
        if not is_named and not _is_part(found, path, place):
            raise ConfigError(_refusal(path, where, place, self.source))
        return found


def _is_part(found: Any, path: str, place: Place) -> bool:
    """Whether something of our own package may be built in a place: public, defined where it was named, of its base."""
    module, _, name = path.rpartition(".")
    if name.startswith("_") or getattr(found, "__module__", None) != module:
        return False
    if place.base is None:
        return inspect.isfunction(found) or inspect.isclass(found)
    is_whole = inspect.isclass(found) and not inspect.isabstract(found) and found not in _bases(place)
    return is_whole and issubclass(found, _bases(place))


def parts_in(module_name: str, place: Place) -> list[str]:
    """Paths of what may be built in a place, of a module of our own package."""
    if place.own is None or not _within(module_name, (place.own,)):
        return []
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        return []
    paths = [f"{module_name}.{name}" for name in vars(module)]
    return [path for path, found in zip(paths, vars(module).values(), strict=True) if _is_part(found, path, place)]


def check_base(part: Any, place: Place, where: str) -> None:
    """Raises ConfigError unless a part derives from the base class of its place."""
    if place.base is not None and not isinstance(part, _bases(place)):
        name = place.base.rpartition(".")[2]
        raise ConfigError(f"{where}: expected a {place.base}, got {type(part).__name__}. Derive it from {name}.")


def _bases(place: Place) -> tuple[type, ...]:
    """The base classes of a place; albumentations has two, for transforms and for compositions of them."""
    assert place.base is not None
    paths = [place.base]
    if place.base == "albumentations.BasicTransform":
        paths.append("albumentations.BaseCompose")
    return tuple(_imported(path, "") for path in paths)


def _has_target(node: Any) -> bool:
    if isinstance(node, Mapping):
        return "_target_" in node or any(map(_has_target, node.values()))
    return isinstance(node, (list, tuple)) and any(map(_has_target, node))


def _refusal(path: str, where: str, place: Place, source: str | None) -> str:
    """The message for a target that its place does not allow."""
    shown = path[:200]
    said = f"{where}._target_: a config may not name {shown} here" + (f" (in {source[:300]})" if source else "")
    known = [*place.names, *parts_in(path.rpartition(".")[0], place)]
    near = difflib.get_close_matches(shown, known, n=3, cutoff=0.7)
    said += f". Nearest: {', '.join(near)}." if near else "."
    package = path.partition(".")[0][:100] if "." in path else ""  # the whole of it: its other modules come next
    if package == "dlcpose" or not package.isidentifier() or package in sys.stdlib_module_names:
        return said
    return f"{said} If it is yours and you trust it, add trust=[{package}] to the command."


def _within(path: str, packages: Sequence[str]) -> bool:
    return any(path == package or path.startswith(f"{package}.") for package in packages)


def _imported(path: str, where: str) -> Any:
    """What a path names; it is on the list, or in a package of the user's own."""
    module_name, _, name = path.rpartition(".")
    if not module_name or not name:
        raise ConfigError(f"{where}._target_: expected the path of something within a package, got {path!r}.")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{where}._target_: {path} cannot be imported ({error}). Correct the path, or install the package that has it."
        ) from error
    found = getattr(module, name, None)
    if not callable(found) or not hasattr(found, "__module__"):
        near = difflib.get_close_matches(name, dir(module), n=3)
        raise ConfigError(f"{where}._target_: {module_name} has no {name}. Nearest: {', '.join(near) or 'none'}.")
    return found


def _check_names(target: Any, settings: Mapping[str, Any], where: str) -> None:
    """Raises ConfigError for a setting that a target does not take, or that is not a config's to give."""
    for name in settings:
        if name in RESERVED:
            raise ConfigError(
                f"{where}.{name}: the run says where {target.__name__} writes, and as what. Leave it out."
            )
    parameters = inspect.signature(target).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    names = [parameter.name for parameter in parameters]
    for name in settings:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.4)
            raise ConfigError(
                f"{where}.{name}: {target.__name__} takes no such setting. Nearest: {', '.join(near or names)}."
            )


def facts_for(late: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that a part's signature names, of all that are known when it is built."""
    return {name: value for name, value in facts.items() if name in parameters_of(late)}


def parameters_of(late: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a part that are still to be given when it is completed."""
    return inspect.signature(late.func).parameters if isinstance(late, functools.partial) else {}


def complete(late: Any, where: str, *arguments: Any, **settings: Any) -> Any:
    """Call a partial with its last arguments; a ValueError or TypeError from it becomes a ConfigError.

    A part names its settings as those of its group; where it is within another, its errors get its full key.
    """
    if not isinstance(late, functools.partial):
        raise ConfigError(f"{where}: expected a part that is completed later. Add `_partial_: true` to its option.")
    try:
        return late(*arguments, **settings)
    except DlcposeError as error:
        if (said := _with_full_keys(str(error), where, parameters_of(late))) == str(error):
            raise
        raise type(error)(said) from error
    except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError, MisconfigurationException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where}: {late.func.__name__} refuses its settings: {reason}") from error


def _with_full_keys(message: str, where: str, settings: Iterable[str]) -> str:
    """A message with `detector.backbone.name` in place of `backbone.name`, for a part at `detector.backbone`."""
    name = where.rpartition(".")[2]
    return re.sub(rf"(?<![\w./]){re.escape(name)}(?=:|\.(?:{'|'.join(settings)})\b)", lambda _: where, message)


def complete_with_run(built: Any, where: str, run_dir: Any, run_name: str, sweep_name: str | None = None) -> Any:
    """A part, completed with the folder, the name and the sweep of its run where its signature names them."""
    if not isinstance(built, functools.partial):
        return built
    facts = {"run_dir": run_dir, "run_name": run_name, "sweep_name": sweep_name}
    return complete(built, where, **facts_for(built, facts))
