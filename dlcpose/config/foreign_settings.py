"""Check what other people's config files set in a composed config: nothing that only the user's command may."""

import contextlib
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from dlcpose.config.dotted_keys import flatten_config
from dlcpose.config.overrides import key_of, override_values
from dlcpose.structures.errors import ConfigError

# Of the hydra node, what a file may set. Folders only below the working folder.
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
JOB_NAME = "hydra.job.name"
HARMLESS = (*FOLDERS, "hydra.sweeper.params", JOB_NAME, "hydra.sweeper.n_trials", "hydra.sweeper.direction")
PARAMS = "hydra.sweeper.params."
# What Hydra itself fills in as it composes.
FILLED_IN = (
    *("hydra.runtime.", "hydra.overrides.", "hydra.mode", "hydra.searchpath"),
    *("hydra.job.override_dirname", "hydra.job.config_name"),
)
# Of the rest of the config, what only a command may set.
COMMANDED = ("trust", "run_dir", "resume")
RESOLVERS = (
    *("hydra", "now", "python_version", "oc.select"),
    *("dlcpose.run_folder", "dlcpose.sweep_folder", "dlcpose.job_folder", "dlcpose.absolute"),
)
LONGEST_NAME = 200  # of a folder; file systems take 255 bytes


def check_job(overrides: Sequence[Override], given: Mapping[str, Override]) -> None:
    """Raises ConfigError for a setting of Hydra's that a job of a sweep has and the command has not."""
    for override in overrides:
        key = key_of(override)
        if re.match(r"hydra([./@]|$)", key) and key not in given and key != "hydra.mode":
            raise ConfigError(f"{key}: a sweep of a file may not set it. Give it in the command.")


def check_trust(config: DictConfig, given: Mapping[str, Override]) -> None:
    """Raises ConfigError for a trusted package that the command does not name."""
    trusted = OmegaConf.to_container(config, resolve=False).get("trust")  # type: ignore[union-attr]
    named: set[str] = set()
    for value in override_values(given.get("trust")):
        named |= {str(entry) for entry in value} if isinstance(value, list) else {str(value)}
    for package in trusted if isinstance(trusted, list) else [trusted] if trusted else []:
        if str(package) not in named:
            raise ConfigError(
                f"trust: {str(package)[:100]} is trusted by a config file. Only a command can do that: add trust=[...] to "
                "it, if you know the code."
            )


def check_name(config: DictConfig) -> None:
    """Raises ConfigError for the name of a run that is not that of one folder."""
    if "name" not in config:
        return
    try:
        with as_if_run(config) as known:
            name = known.name
    except OmegaConfBaseException:  # raised again when the config is resolved
        return
    _check_one_name(name, "name", "a folder")


def _check_one_name(value: object, key: str, what: str) -> None:
    """Raises ConfigError for what is no name, such as null, and for one that would lead into another folder."""
    name = str(value)
    is_name = isinstance(value, str | int | float) and name not in ("", ".", "..")
    if not is_name or re.search(r"[/\\\x00-\x1f\x7f]", name) or len(name) > LONGEST_NAME:
        shown = repr(name[:100]) if isinstance(value, str) else name[:100]
        raise ConfigError(
            f"{key}: expected the name of {what}, without '/' and at most {LONGEST_NAME} characters long, got "
            f"{shown}. Give another with {key}=..."
        )


@contextlib.contextmanager
def as_if_run(config: DictConfig) -> Iterator[DictConfig]:
    """A copy of a config that can be resolved as in a run, before there is one."""
    known, before = copy.deepcopy(config), HydraConfig.instance().cfg
    with open_dict(known):
        known.hydra.runtime.output_dir = "run"
        known.hydra.job.num, known.hydra.job.id = 0, "0"
    HydraConfig.instance().set_config(known)
    try:
        yield known
    finally:
        HydraConfig.instance().cfg = before


def check_hydra(config: DictConfig, baseline: Mapping[str, Any], given: Mapping[str, Override]) -> None:
    """Raises ConfigError for a setting of Hydra's own that came with a file and is not harmless."""
    node = OmegaConf.to_container(config.hydra, resolve=False)
    composed = flatten_unresolved(config.hydra, "hydra")
    trust = tuple(
        str(entry) for value in override_values(given.get("trust")) if isinstance(value, list) for entry in value
    )
    for key in {**composed, **baseline}:
        if key.startswith(FILLED_IN) or (key in composed and key in baseline and composed[key] == baseline[key]):
            continue
        if key.startswith(PARAMS):
            swept = key.removeprefix(PARAMS).lstrip("+~")
            if re.match(rf"(hydra|{'|'.join(COMMANDED)})([./@]|$)", swept):
                raise ConfigError(f"{key}: a sweep of a file may not set {swept}. Give it in the command.")
        elif key not in HARMLESS and not _is_of_trusted(key, node, trust):
            raise ConfigError(
                f"{key}: a config file may not set it, since Hydra acts on it before the command begins. Give it in the "
                "command, or name the package it is for with trust=[...]."
            )
    for key in FOLDERS:
        if composed.get(key) != baseline.get(key):
            _check_below(config, key)
    if composed.get(JOB_NAME) != baseline.get(JOB_NAME):  # Hydra writes a log of this name into the run folder
        _check_one_name(resolved_setting(config, JOB_NAME), JOB_NAME, "a file")


def _is_of_trusted(key: str, node: Any, trust: Sequence[str]) -> bool:
    """Whether a setting is one of a part of Hydra's that is of a trusted package."""
    target, inner = "", node
    for name in key.split(".")[1:]:
        if isinstance(inner, Mapping):
            target, inner = str(inner.get("_target_", target)), inner.get(name)
    return bool(trust) and any(target.startswith(f"{package}.") for package in trust)


def _check_below(config: DictConfig, key: str) -> None:
    """Raises ConfigError for a folder of a file's that lies elsewhere than below the working folder."""
    folder = resolved_setting(config, key)
    if PurePath(folder).is_absolute() or folder.startswith("~") or ".." in re.split(r"[/\\]", folder):
        raise ConfigError(f"{key}: a config file may only name a folder below the working one, got {folder[:200]!r}.")


def resolved_setting(config: DictConfig, key: str) -> str:
    """A setting of Hydra's as it is in a run. Raises ConfigError where that is not known before it."""
    try:
        with as_if_run(config) as known:
            return str(OmegaConf.select(known, key))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: a config file sets it to what is not known yet. Give it in the command.") from error


def check_resolvers(config: DictConfig, given: Sequence[str]) -> None:
    """Raises ConfigError for a resolver that reads environment variables, or anything else outside of the config."""
    for key, value in flatten_unresolved(config).items():
        if key.startswith(FILLED_IN):
            continue
        for text in _texts(value):
            if "${" in text and not any(text in argument for argument in given):
                for name in _resolvers_of(text):
                    if name not in RESOLVERS:
                        raise ConfigError(
                            f"{key}: a config file may not ask for ${{{name[:50]}:...}}: what it finds would be saved with "
                            f"the run. There are {', '.join(RESOLVERS)}; give other values in the command."
                        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _texts(name)
            yield from _texts(entry)


def _resolvers_of(text: str) -> Iterator[str]:
    """The names of the resolvers that a text calls, as it writes them."""
    waiting = [parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, OmegaConfGrammarParser.InterpolationResolverContext):
            name: Any = node.resolverName  # the parser is generated, and has no types
            yield str(name().getText())
        waiting += list(getattr(node, "getChildren", lambda: ())())


def check_commanded(config: DictConfig, given: Mapping[str, Override], run_mode: RunMode) -> None:
    """Raises ConfigError for a file that sets what is resumed, where a run writes, or the server that it is reported to."""
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    usual: dict[str, Any] = {"run_dir": "${hydra:runtime.output_dir}", "resume": None}
    for key in ("run_dir", "resume"):
        if raw.get(key, usual[key]) != usual[key] and key not in given:
            raise ConfigError(f"{key}: a config file may not set it. Give it in the command.")
    try:
        with as_if_run(config) as known:
            resolved = OmegaConf.to_container(known, resolve=True)
            storage = OmegaConf.select(known, "hydra.sweeper.storage")
    except OmegaConfBaseException:
        if run_mode == RunMode.MULTIRUN:  # each of its jobs is checked again
            return
        raise
    assert isinstance(resolved, dict)
    places = (
        ("logger", "tracking_uri", None, resolved),
        ("callbacks", "storage", storage, resolved),
        ("detector_stage.callbacks", "storage", storage, resolved.get("detector_stage") or {}),
    )
    for place, setting, allowed, parent in places:
        for name, node in dict(parent.get(place.rpartition(".")[2]) or {}).items():
            value = node.get(setting) if isinstance(node, Mapping) else None
            if value not in (None, allowed) and f"{place}.{name}.{setting}" not in given:
                raise ConfigError(
                    f"{place}.{name}.{setting}: a config file may not say where a run is reported. Give it in the command."
                )


def flatten_unresolved(config: DictConfig, prefix: str = "") -> dict[str, Any]:
    """A config by dotted keys, its interpolations as they are written."""
    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    return flatten_config({str(name): value for name, value in content.items()}, prefix)
