"""Check what a folder of other people's config files may set (`--config-dir lab`, or hydra.searchpath).

Hydra builds objects of its own, from the `hydra` node, before a command is called: callbacks, loggers, sweepers,
launchers. So every composition is checked when it is made, also that of each job of a sweep, in whatever process. What
counts as the user's own is the command line (or the overrides of a Python call) and the options of this package.
"""

import contextlib
import copy
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from dlcpose.config.dotted_keys import flatten_config
from dlcpose.config.folders import CONF, check_resumed_folder
from dlcpose.config.interpolations import bounded_resolution, check_resolved, check_texts
from dlcpose.structures.data_files import read_yaml
from dlcpose.structures.errors import ConfigError

COMMANDS = ("train", "evaluate", "predict")  # the primary configs
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
AS_ONE_RUN = "hydra.mode=RUN"  # which Hydra adds to the overrides of a command that says nothing of it
# Of the rest of the config, what only a command may set.
COMMANDED = ("trust", "run_dir", "resume")
RESOLVERS = (
    *("hydra", "now", "python_version", "oc.select"),
    *("dlcpose.run_folder", "dlcpose.sweep_folder", "dlcpose.job_folder", "dlcpose.absolute"),
)
OWN_PROVIDERS = ("main", "hydra", "schema")  # what Hydra calls the sources that are no stranger's
LONGEST_NAME = 200  # of a folder; file systems take 255 bytes
# The overrides of a Python call; None: those of the shell.
_given: tuple[str, ...] | None = None


@contextlib.contextmanager
def checked_loading(overrides: Sequence[str] | None = None) -> Iterator[None]:
    """Within it, Hydra refuses configs that set what only the user may. overrides: the user's own; the shell's unless given.

    What is refused is a ConfigError of the composition.
    """
    global _given
    before, loader = _given, hydra._internal.hydra.ConfigLoaderImpl
    _given = None if overrides is None else tuple(overrides)
    hydra._internal.hydra.ConfigLoaderImpl = CheckedLoader
    try:
        yield
    finally:
        _given, hydra._internal.hydra.ConfigLoaderImpl = before, loader


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's config loader, with a check of each config before Hydra uses it.

    It is pickled to the processes of launchers with the sweep whose jobs it loads.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = _BoundedRepository(config_search_path)
        # Options of the shell have no equals sign before their value; what is no override is ignored below.
        texts = sys.argv[1:] if _given is None else _given
        self.given = tuple(text for text in texts if re.match(r"[^-][^=]*=|~", text))
        self._listed: dict[tuple[str, ObjectType | None], list[str]] = {}  # the options of groups
        self._of_mode: tuple[str | None, list[str], DictConfig] | None = None  # composed for it, from what

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """The options of a group to choose from, without those that others are only based on (`_base_*`)."""
        if config_name is None and not overrides:
            # Hydra copies all configs to list one group, and `--help` lists each up to five times.
            options = self._listed.get((group_name, results_filter))
            if options is None:
                options = self.repository.get_group_options(group_name, results_filter)
                self._listed[group_name, results_filter] = options
        else:
            options = super().get_group_options(group_name, results_filter, config_name, overrides)
        return [option for option in options if not option.startswith("_")]

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """A composed config. Raises ConfigError for one that sets what only the user may."""
        self._check_begin(config_name)
        given = {_key(override): override for override in parsed_overrides(self.given)}
        if self._is_foreign():
            _check_job(parsed_overrides(overrides), given)
        # Hydra resolves the name of the job as it loads.
        with bounded_resolution() if self._is_foreign() else contextlib.nullcontext():
            config = self._composed(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        _check_trust(config, given)
        if self._is_foreign():
            with _as_if_run(config) as known:
                check_resolved(known)
        _check_name(config)
        if self._is_foreign():
            baseline = self._without_strangers(config_name, given)
            _check_hydra(config, baseline, given)
            _check_resolvers(config, self.given)
            _check_commanded(config, given, run_mode)
        if run_mode == RunMode.RUN and from_shell and config.get("resume") is not None:
            # Here, since Hydra writes there before the command begins.
            check_resumed_folder(Path(_resolved(config, "hydra.run.dir")))
        return config

    def _composed(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, from_shell: bool, validates: bool
    ) -> DictConfig:
        """A composed config as Hydra makes it, but once: Hydra composes all to see `hydra.mode`, and then again."""
        if run_mode == RunMode.RUN and self._of_mode is not None:
            (*asked, known), self._of_mode = self._of_mode, None
            if overrides[-1:] == [AS_ONE_RUN] and asked == [config_name, overrides[:-1]]:
                self.validate_sweep_overrides_legal(parsed_overrides(overrides), run_mode, from_shell)
                known.hydra.mode = run_mode
                known.hydra.overrides.hydra.append(AS_ONE_RUN)
                return known
        config: DictConfig = super().load_configuration(config_name, overrides, run_mode, from_shell, validates)
        # Asked for the mode, Hydra leaves out choices that a sweep has yet to make.
        if run_mode == RunMode.MULTIRUN and not validates and not OmegaConf.missing_keys(config.hydra.runtime.choices):
            self._of_mode = config_name, list(overrides), copy.deepcopy(config)
        return config

    def _check_begin(self, config_name: str | None) -> None:
        """Raises ConfigError where it does not all begin with a config of ours: Hydra acts on a first one as it reads it."""
        main = [str(each.path) for each in self.config_search_path.get_path() if each.provider == "main"]
        if any(Path(path.removeprefix("file://")) != CONF for path in main) or config_name not in (None, *COMMANDS):
            raise ConfigError(
                f"--config-path, --config-name: a command begins with its own config, got {config_name}. Add options of "
                "your own with --config-dir FOLDER."
            )

    def _is_foreign(self) -> bool:
        providers = [each.provider for each in self.config_search_path.get_path()]
        return "command-line" in providers or any("hydra.searchpath" in text for text in self.given)

    def _without_strangers(self, config_name: str | None, given: Mapping[str, Override]) -> dict[str, Any]:
        """The hydra node as the command alone would have it, with this package's options."""
        own = [each for each in self.config_search_path.get_path() if each.provider != "command-line"]
        search_path = ConfigSearchPathImpl()
        search_path.config_search_path = own
        of_hydra = [each for key, each in given.items() if re.match(r"hydra[./]", key) and key != "hydra.searchpath"]
        for chosen in (of_hydra, [each for each in of_hydra if not _key(each).startswith("hydra/")]):
            try:
                texts = [str(each.input_line) for each in chosen]
                config = ConfigLoaderImpl(search_path).load_configuration(config_name, texts, RunMode.RUN)
                return _flattened(config.hydra, "hydra")
            except (HydraException, OmegaConfBaseException):
                # The command chooses an option that only the other folder has: that one is not this package's, so what
                # it sets is checked against the config without it. The user sees Hydra's own error if it exists nowhere.
                continue
        config = ConfigLoaderImpl(search_path).load_configuration(config_name, [], RunMode.RUN)
        return _flattened(config.hydra, "hydra")


class _BoundedRepository(ConfigRepository):
    """Hydra's repository of configs; a stranger's file is checked first, since OmegaConf reads without bounds."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is not None and source.provider not in OWN_PROVIDERS and source.scheme() == "file":
            path = Path(source.path) / source._normalize_file_name(config_path)
            check_texts(read_yaml(path, error=ConfigError, simple_merges=True), path)
        return super().load_config(config_path)


def parsed_overrides(texts: Sequence[str]) -> list[Override]:
    """The overrides of a command; Hydra itself refuses everything else."""
    parser, parsed = OverridesParser.create(), []
    for text in texts:
        with contextlib.suppress(HydraException):
            parsed += parser.parse_overrides([text])
    return parsed


def _key(override: Override) -> str:
    """The key of an override, without the signs that mark it as new."""
    return str(override.key_or_group)


def override_values(override: Override | None) -> list[Any]:
    """All values that an override gives, also where it is swept."""
    if override is None:
        return []
    if override.is_sweep_override():
        return list(override.sweep_iterator()) if override.is_discrete_sweep() else []
    return [override.value()]


def _check_job(overrides: Sequence[Override], given: Mapping[str, Override]) -> None:
    """Raises ConfigError for a setting of Hydra's that a job of a sweep has and the command has not."""
    for override in overrides:
        key = _key(override)
        if re.match(r"hydra([./@]|$)", key) and key not in given and key != "hydra.mode":
            raise ConfigError(f"{key}: a sweep of a file may not set it. Give it in the command.")


def _check_trust(config: DictConfig, given: Mapping[str, Override]) -> None:
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


def _check_name(config: DictConfig) -> None:
    """Raises ConfigError for the name of a run that is not that of one folder."""
    if "name" not in config:
        return
    try:
        with _as_if_run(config) as known:
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
def _as_if_run(config: DictConfig) -> Iterator[DictConfig]:
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


def _check_hydra(config: DictConfig, baseline: Mapping[str, Any], given: Mapping[str, Override]) -> None:
    """Raises ConfigError for a setting of Hydra's own that came with a file and is not harmless."""
    node = OmegaConf.to_container(config.hydra, resolve=False)
    composed = _flattened(config.hydra, "hydra")
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
        _check_one_name(_resolved(config, JOB_NAME), JOB_NAME, "a file")


def _is_of_trusted(key: str, node: Any, trust: Sequence[str]) -> bool:
    """Whether a setting is one of a part of Hydra's that is of a trusted package."""
    target, inner = "", node
    for name in key.split(".")[1:]:
        if isinstance(inner, Mapping):
            target, inner = str(inner.get("_target_", target)), inner.get(name)
    return bool(trust) and any(target.startswith(f"{package}.") for package in trust)


def _check_below(config: DictConfig, key: str) -> None:
    """Raises ConfigError for a folder of a file's that lies elsewhere than below the working folder."""
    folder = _resolved(config, key)
    if PurePath(folder).is_absolute() or folder.startswith("~") or ".." in re.split(r"[/\\]", folder):
        raise ConfigError(f"{key}: a config file may only name a folder below the working one, got {folder[:200]!r}.")


def _resolved(config: DictConfig, key: str) -> str:
    """A setting of Hydra's as it is in a run. Raises ConfigError where that is not known before it."""
    try:
        with _as_if_run(config) as known:
            return str(OmegaConf.select(known, key))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: a config file sets it to what is not known yet. Give it in the command.") from error


def _check_resolvers(config: DictConfig, given: Sequence[str]) -> None:
    """Raises ConfigError for a resolver that reads environment variables, or anything else outside of the config."""
    for key, value in _flattened(config).items():
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


def _check_commanded(config: DictConfig, given: Mapping[str, Override], run_mode: RunMode) -> None:
    """Raises ConfigError for a file that sets what is resumed, where a run writes, or the server that it is reported to."""
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    usual: dict[str, Any] = {"run_dir": "${hydra:runtime.output_dir}", "resume": None}
    for key in ("run_dir", "resume"):
        if raw.get(key, usual[key]) != usual[key] and key not in given:
            raise ConfigError(f"{key}: a config file may not set it. Give it in the command.")
    try:
        with _as_if_run(config) as known:
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


def _flattened(config: DictConfig, prefix: str = "") -> dict[str, Any]:
    """A config by dotted keys, its interpolations as they are written."""
    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    return flatten_config({str(name): value for name, value in content.items()}, prefix)
