"""Configs as plain values, composed by Hydra within a program: for Python, and for commands that look at several."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

from dlcpose.config.folders import CONF, check_user_folders, register_resolvers
from dlcpose.config.messages import explain
from dlcpose.config.quoting import quote_paths
from dlcpose.config.sources import checked_loading
from dlcpose.structures.errors import ConfigError

register_resolvers()


def compose(
    overrides: Sequence[str] = (), *, config_name: str = "train", run_dir: str = "outputs/composed"
) -> dict[str, Any]:
    """What the shell would have composed from these overrides, as plain values. The run folder is given, not dated.

    Raises ConfigError, with the message of the shell, where they do not compose, and for several values of one key.
    """
    overrides = quote_paths(overrides)
    known_before = HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        with checked_loading(overrides), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            check_user_folders(overrides)
            _refuse_sweeps(overrides)
            config = hydra.compose(config_name, list(overrides), return_hydra_config=True)
    except Exception as error:
        if (reason := explain(error, config_name, overrides)) is None:
            raise
        raise ConfigError(reason) from error
    with open_dict(config):
        config.hydra.runtime.output_dir = run_dir
    HydraConfig.instance().set_config(config)  # the config gets the model's name and the run folder from Hydra
    try:
        with open_dict(config):
            del config["hydra"]
        return plain(config)
    finally:
        HydraConfig.instance().cfg = known_before


def _refuse_sweeps(overrides: Sequence[str]) -> None:
    """Raises ConfigError for several values of one key: Hydra's own message speaks of an option that only the shell has."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.is_sweep_override():
            key, given = override.key_or_group, override.input_line
            raise ConfigError(
                f"{given}: expected one value, got several. Give one; a list stands in brackets ({key}=[A,B]), a text with "
                f"commas in quotes ({key}='A,B'). Only train.py in the shell makes several runs at once, with -m."
            )


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed config as dictionaries and lists, interpolations resolved, and its run folder as an absolute path.

    Raises ConfigError where a mandatory value is missing, a value stands in place of keys, or the run folder is no text.
    """
    try:
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key or "a value"
        raise ConfigError(f"{key} must be given: add {key}=... to the command.") from error
    except InterpolationResolutionError as error:  # of `${best.monitor}` where best=null
        if (node := re.search(r"node `([^`]+)` is not a container", str(error))) is None:
            raise
        raise ConfigError(f"{node[1]}: expected keys of its own, got a value. Write {node[1]}.KEY=...") from error
    assert isinstance(content, dict)
    if "run_dir" in content:
        content["run_dir"] = _run_folder(content["run_dir"])
    return {str(key): value for key, value in content.items()}


def _run_folder(given: Any) -> str:
    """A run folder as an absolute path: a relative one, such as `val`, may be another value of the config as well."""
    if isinstance(given, bool) or not isinstance(given, str | int | float) or not str(given):
        raise ConfigError(f"run_dir: expected a folder, got {given!r:.80}. Write run_dir=FOLDER.")
    return str(Path(str(given)).absolute())


def value_in(overrides: Sequence[str], key: str) -> str | None:
    """The value that overrides give to a key, read by Hydra's grammar (quotes, escapes, `++key=`); None where they do not."""
    for override in OverridesParser.create().parse_overrides(quote_paths(overrides)):
        if override.key_or_group == key and (value := override.value()) is not None:
            return str(value)
    return None
