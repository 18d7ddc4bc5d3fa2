"""From the shell to a composed config: Hydra's main, with one-line errors and sweeps that resume."""

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig

from dlcpose.config.compose import plain
from dlcpose.config.folders import CONF, check_user_folders, forget_named_folders
from dlcpose.config.messages import (
    end_quietly,
    explain,
    fail,
    log_printably,
    output_may_be_closed,
    stop,
    tolerate_output,
    wants_traceback,
)
from dlcpose.config.quoting import quote_paths
from dlcpose.config.sources import checked_loading
from dlcpose.runs.sweep import launch, record_failure, sweep_of
from dlcpose.structures.environment import check_environment
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.interrupts import leave_ctrl_c_to
from dlcpose.structures.printable import printable

# Hydra's options that are followed by a value.
WITH_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p")


def run_hydra(config_name: str, command: Callable[[dict[str, Any]], Any]) -> None:
    """Compose `config_name` from the shell's overrides and hand it to a command as plain values; errors are one line.

    `--debug` or HYDRA_FULL_ERROR=1 shows tracebacks.
    """
    shows_traceback = wants_traceback()
    tolerate_output()
    forget_named_folders()
    sys.argv = [sys.argv[0], *quote_paths(overrides_last(sys.argv[1:]))]
    replace_optuna_sweeper()
    launcher = os.getpid()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing, so that `explain` gets the error

    @functools.wraps(command)
    def composed(config: DictConfig) -> Any:
        log_printably()
        if os.getppid() == launcher:  # joblib's processes outlive one that is killed, and keep their memory
            leave_ctrl_c_to(launcher)
        try:
            return command(plain(config))
        except BrokenPipeError:  # the output was closed (`| head`): not an error, of which Hydra would print a line
            if HydraConfig.get().mode == RunMode.RUN:
                end_quietly()
            raise
        except Exception as error:
            # Within a sweep the launcher has to see the error; alone, Hydra would print a line of its own before ours.
            is_alone = HydraConfig.get().mode == RunMode.RUN
            reason = explain(error, config_name)
            if not is_alone:
                record_failure(error, reason)
                if reason is not None and "sweep" not in config:  # no report at the end names each job that failed
                    print(f"job {HydraConfig.get().job.num}: {printable(reason)}", file=sys.stderr)
            if shows_traceback or not is_alone or reason is None:
                raise
            fail(reason)

    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(composed)
    try:
        check_environment()
        if any(argument.startswith("--e") for argument in sys.argv[1:]):  # argparse accepts abbreviated options
            raise ConfigError(
                "--experimental-rerun: it reads a pickle, which can run code. Give the overrides instead."
            )
        check_user_folders(sys.argv[1:])
        sweep = sweep_of(sys.argv[1:], config_name)
        with output_may_be_closed(), checked_loading():
            if sweep is None:
                main()
            else:
                with _more_arguments(sweep.arguments):
                    launch(main, sweep)
    except KeyboardInterrupt as interrupt:
        stop(interrupt)
    except Exception as error:
        if shows_traceback or (reason := explain(error, config_name)) is None:
            raise
        fail(reason)


def replace_optuna_sweeper() -> None:
    """Let `hydra/sweeper=optuna` mean conf/hydra/sweeper/study.yaml.

    The plugin's own keeps no study and ends with the first trial that fails, and Hydra refuses a file of its name.
    """
    Plugins.instance()  # the plugins register theirs
    ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node={"defaults": ["study"]})


def overrides_last(arguments: list[str]) -> list[str]:
    """The arguments with options first: argparse refuses overrides on both sides of an option (`model=x -m seed=0,1`)."""
    options: list[str] = []
    overrides: list[str] = []
    for place, argument in enumerate(arguments):
        is_value = place > 0 and arguments[place - 1] in WITH_VALUE  # a folder may be named lr=0.1
        is_override = not is_value and re.match(r"[^-][^=]*=|~", argument)
        (overrides if is_override else options).append(argument)
    return options + overrides


@contextlib.contextmanager
def _more_arguments(arguments: Sequence[str]) -> Iterator[None]:
    """More arguments for Hydra, which reads those of the shell."""
    given = sys.argv
    sys.argv = [*given, *arguments]
    try:
        yield
    finally:
        sys.argv = given
