"""Load configs of which a part is other people's (`--config-dir lab`, or hydra.searchpath), and check what it sets.

Hydra builds objects of its own, from the `hydra` node, before a command is called: callbacks, loggers, sweepers,
launchers. So every composition is checked when it is made, also that of each job of a sweep, in whatever process. What
counts as the user's own is the command line (or the overrides of a Python call) and the options of this package.
"""

import contextlib
import copy
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlcpose.config.folders import CONF, check_resumed_folder
from dlcpose.config.foreign_settings import (
    as_if_run,
    check_commanded,
    check_hydra,
    check_job,
    check_name,
    check_resolvers,
    check_trust,
    flatten_unresolved,
    resolved_setting,
)
from dlcpose.config.interpolations import bounded_resolution, check_resolved, check_texts
from dlcpose.config.overrides import key_of, parsed_overrides
from dlcpose.structures.data_files import read_yaml
from dlcpose.structures.errors import ConfigError

COMMANDS = ("train", "evaluate", "predict")  # the primary configs
AS_ONE_RUN = "hydra.mode=RUN"  # which Hydra adds to the overrides of a command that says nothing of it
OWN_PROVIDERS = ("main", "hydra", "schema")  # what Hydra calls the sources that are no stranger's
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
        given = {key_of(override): override for override in parsed_overrides(self.given)}
        if self._is_foreign():
            check_job(parsed_overrides(overrides), given)
        # Hydra resolves the name of the job as it loads.
        with bounded_resolution() if self._is_foreign() else contextlib.nullcontext():
            config = self._composed(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        check_trust(config, given)
        if self._is_foreign():
            with as_if_run(config) as known:
                check_resolved(known)
        check_name(config)
        if self._is_foreign():
            baseline = self._without_strangers(config_name, given)
            check_hydra(config, baseline, given)
            check_resolvers(config, self.given)
            check_commanded(config, given, run_mode)
        if run_mode == RunMode.RUN and from_shell and config.get("resume") is not None:
            # Here, since Hydra writes there before the command begins.
            check_resumed_folder(Path(resolved_setting(config, "hydra.run.dir")))
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
        for chosen in (of_hydra, [each for each in of_hydra if not key_of(each).startswith("hydra/")]):
            try:
                texts = [str(each.input_line) for each in chosen]
                config = ConfigLoaderImpl(search_path).load_configuration(config_name, texts, RunMode.RUN)
                return flatten_unresolved(config.hydra, "hydra")
            except (HydraException, OmegaConfBaseException):
                # The command chooses an option that only the other folder has: that one is not this package's, so what
                # it sets is checked against the config without it. The user sees Hydra's own error if it exists nowhere.
                continue
        config = ConfigLoaderImpl(search_path).load_configuration(config_name, [], RunMode.RUN)
        return flatten_unresolved(config.hydra, "hydra")


class _BoundedRepository(ConfigRepository):
    """Hydra's repository of configs; a stranger's file is checked first, since OmegaConf reads without bounds."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is not None and source.provider not in OWN_PROVIDERS and source.scheme() == "file":
            path = Path(source.path) / source._normalize_file_name(config_path)
            check_texts(read_yaml(path, error=ConfigError, simple_merges=True), path)
        return super().load_config(config_path)
