"""Configs composed inside a program, for commands that look at several and for Python."""

from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from dlcpose.cli.hydra_main import CONF, explained, plain
from dlcpose.config.sources import checked_loading
from dlcpose.structures.errors import ConfigError


def compose(
    overrides: Sequence[str] = (), *, config_name: str = "train", run_dir: str = "outputs/composed"
) -> dict[str, Any]:
    """What the shell would have composed from these overrides, as plain values. The run folder is given, not dated.

    Raises ConfigError, in the words of the shell, where they do not compose.
    """
    known_before = HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        with checked_loading(overrides), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose(config_name, list(overrides), return_hydra_config=True)
    except Exception as error:
        if (reason := explained(error, config_name, overrides)) is None:
            raise
        raise ConfigError(reason) from error
    with open_dict(config):
        config.hydra.runtime.output_dir = run_dir
    HydraConfig.instance().set_config(config)  # the config asks Hydra for the model's name and the run folder
    try:
        with open_dict(config):
            del config["hydra"]
        return plain(config)
    finally:
        HydraConfig.instance().cfg = known_before
