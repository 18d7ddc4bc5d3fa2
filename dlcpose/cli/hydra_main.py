"""From the shell to a composed config, and from an error to one line that says what to do."""

import argparse
import contextlib
import difflib
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from dlcpose.config.sources import CONF as CONF
from dlcpose.config.sources import checked_loading
from dlcpose.runs.resume import run_folder
from dlcpose.runs.sweep import job_folder, launch, note_failure, sweep_folder, sweep_of
from dlcpose.structures.errors import ConfigError, DlcposeError

# Hydra writes its own files into the run folder too, so the folder of a resumed run has to be known to it.
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
OmegaConf.register_new_resolver("absolute", os.path.abspath, replace=True)

PLUGINS = {"tpe": "sweep", "joblib": "sweep", **dict.fromkeys(("ray", "submitit_slurm", "submitit_local"), "cluster")}


def run_hydra(config_name: str, command: Callable[[dict[str, Any]], Any]) -> None:
    """Compose `config_name` from the shell's overrides and hand it to a command as plain values; errors are one line.

    `--debug` or HYDRA_FULL_ERROR=1 shows tracebacks.
    """
    in_full = wants_traceback()
    sys.argv = [sys.argv[0], *overrides_last(sys.argv[1:])]
    take_own_sweeper()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print, and `explained` gets to see it

    @functools.wraps(command)
    def composed(config: DictConfig) -> Any:
        try:
            return command(plain(config))
        except Exception as error:
            # Within a sweep the launcher has to see the error; alone, Hydra would print a line of its own before ours.
            is_alone = HydraConfig.get().mode == RunMode.RUN
            reason = explained(error, config_name)
            if not is_alone:
                note_failure(error, reason)
            if in_full or not is_alone or reason is None:
                raise
            fail(reason)

    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(composed)
    try:
        if any(argument.startswith("--e") for argument in sys.argv[1:]):  # argparse takes any beginning of an option
            raise ConfigError(
                "--experimental-rerun: it reads a pickle, which can run code. Give the overrides instead."
            )
        sweep = sweep_of(sys.argv[1:], config_name, CONF)
        with checked_loading():
            if sweep is None:
                main()
            else:
                with _added(sweep.arguments):
                    launch(main, sweep)
    except KeyboardInterrupt:
        fail("stopped.", 130)
    except BrokenPipeError:
        end_quietly()
    except Exception as error:
        if in_full or (reason := explained(error, config_name)) is None:
            raise
        fail(reason)


def take_own_sweeper() -> None:
    """Let `hydra/sweeper=optuna` mean conf/hydra/sweeper/study.yaml.

    The plugin's own keeps no study and ends with the first trial that fails, and Hydra refuses a file of its name.
    """
    Plugins.instance()  # the plugins register theirs
    ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node={"defaults": ["study"]})


@contextlib.contextmanager
def _added(arguments: Sequence[str]) -> Iterator[None]:
    """More arguments for Hydra, which reads those of the shell."""
    given = sys.argv
    sys.argv = [*given, *arguments]
    try:
        yield
    finally:
        sys.argv = given


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks; `--debug` is taken out of the arguments."""
    asked = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    return asked or os.environ.get("HYDRA_FULL_ERROR") == "1"


def overrides_last(arguments: list[str]) -> list[str]:
    """The arguments with options first: argparse refuses overrides on both sides of an option (`model=x -m seed=0,1`)."""
    overrides = [argument for argument in arguments if re.match(r"[^-][^=]*=|~", argument)]
    return [argument for argument in arguments if argument not in overrides] + overrides


def end_quietly() -> NoReturn:
    """End when nobody reads what is printed any more (`| head`); what is still buffered has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(141)  # as a program that the signal ended


def fail(reason: str, code: int = 1) -> NoReturn:
    """End the program with one line on standard error."""
    print(f"dlcpose: {reason}", file=sys.stderr)
    raise SystemExit(code)


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed config as dictionaries and lists, interpolations resolved. Raises ConfigError where a value is owed."""
    try:
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key or "a value"
        raise ConfigError(f"{key} must be given: add {key}=... to the command.") from error
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def explained(error: Exception, config_name: str, arguments: Sequence[str] | None = None) -> str | None:
    """One line for a mistake of the user's, None for one of ours. arguments: the overrides; the shell's unless given."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(error, DlcposeError):
        return _without_worker(str(error), type(error))
    if isinstance(error, (HydraException, OmegaConfBaseException)) or _was_raised_by_hydra(error):
        return _of_composition(error, config_name, arguments)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}: line {mark.line + 1}, column {mark.column + 1}: {error.problem}. Correct this file."
    if isinstance(error, OSError):
        place = error.filename or "a file"
        return f"{place}: {error.strerror or error}. Check the path, its permissions and the disk's room."
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, without importing it
        return f"trainer: {' '.join(str(error).split())}"
    return None


def _without_worker(text: str, kind: type[Exception]) -> str:
    """What an error said before a data loader's worker handed it on, wrapped in its traceback."""
    if "Original Traceback" not in text:
        return text
    return text.rstrip().rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2]


def _of_composition(error: Exception, config_name: str, arguments: Sequence[str]) -> str:
    """What Hydra says of a config that does not compose, with the nearest names there are."""
    text = " ".join(str(error).split())
    if found := re.search(r"Could not (?:find|load) '([\w/]+)/([\w.]+)'", text):
        group, option = found.groups()
        if group.startswith("hydra/") and option in PLUGINS:
            return f"{group}={option}: its plugin is not installed. Install dlcpose[{PLUGINS[option]}]."
        return f"{group}={option}: no such option. {_nearest(option, options(group, arguments))}"
    if found := re.search(r"Could not override '([\w/@.]+)'\.? ?(?:No match in the defaults list)", text):
        return f"{found[1]}: no such group. {_nearest(found[1], groups())}"
    if found := re.search(r"Could not override '([\w.]+)'|Key '([\w.]+)' is not in struct", text):
        key = found[1] or found[2]
        if "." not in key:
            return f"{key}: no such group or key. {_nearest(key, groups() + _keys(config_name, arguments))}"
        if having := _choices_having(key, config_name, arguments):
            return f"{key}: no such key in this config. It is one with {' or '.join(having)}."
        return f"{key}: no such key in this config. {_nearest(key, _keys(config_name, arguments))}"
    if "must be a string or a list" in text:  # Hydra does not say which
        emptied = [argument.split("=")[0] for argument in arguments if re.fullmatch(r"[\w/]+=(null|\d+)", argument)]
        group = next((name for name in emptied if name in groups()), "a group")
        return f"{group}: expected the name of an option. There are: {', '.join(options(group)) or 'none'}."
    if found := re.search(r"Could not append.*?'([\w./]+)'", text):
        return f"{found[1]}: it is there already, write it without the +."
    return text


def _was_raised_by_hydra(error: Exception) -> bool:
    """Hydra raises plain ValueErrors too; where the innermost frame is its own, it was the command line that was wrong."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(hydra.__file__).parent in Path(frames[-1].filename).parents


def groups() -> list[str]:
    """The config groups there are."""
    return sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())


def options(group: str, arguments: Sequence[str] = ()) -> list[str]:
    """The options of a config group, by name; with those of a folder of the user's own, where the arguments name one."""
    folders = (CONF, *_own_folders(arguments))
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


def _own_folders(arguments: Sequence[str]) -> list[Path]:
    """The folder that `--config-dir` names."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    named = parser.parse_known_args(list(arguments))[0].config_dir
    return [] if named is None else [named.absolute()]


def _nearest(name: str, names: list[str]) -> str:
    if not names:
        return "There are none."
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"Nearest: {', '.join(near)}."
    return f"There are: {', '.join(names)}." if len(names) < 40 else "`--cfg job` shows what there is."


def _keys(config_name: str, arguments: Sequence[str]) -> list[str]:
    """Dotted keys of the config as composed from the groups the command chose."""
    chosen = [argument for argument in arguments if re.match(r"^[\w/]+=[\w,\[\]]+$", argument)]
    several = re.compile(r"=[^\[]*,")  # options to sweep over; those in brackets are taken together
    chosen = [argument for argument in chosen if argument.split("=")[0] in groups() and not several.search(argument)]
    chosen += [f"hydra.searchpath=[file://{folder}]" for folder in _own_folders(arguments)]
    GlobalHydra.instance().clear()
    with checked_loading(chosen), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = hydra.compose(config_name, chosen)
        except (HydraException, OmegaConfBaseException, DlcposeError):  # what was chosen has a mistake of its own
            config = hydra.compose(config_name)
    return _flat(OmegaConf.to_container(config))


def _choices_having(key: str, config_name: str, arguments: Sequence[str]) -> list[str]:
    """The choices of a key's group with which the config has that key, as they are written in a command."""
    group = key.split(".")[0]
    if group not in groups():
        return []
    others = [argument for argument in arguments if not argument.startswith(f"{group}=")]
    choices = [_choice(group, option, config_name) for option in options(group, arguments)]
    return [choice for choice in choices if key in _keys(config_name, [*others, choice])]


def _choice(group: str, option: str, config_name: str) -> str:
    """An option as it is written in a command: beside what is there already, where a group takes several."""
    defaults = yaml.safe_load((CONF / f"{config_name}.yaml").read_text())["defaults"]
    usual = next((entry[group] for entry in defaults if isinstance(entry, dict) and group in entry), None)
    return f"{group}=[{','.join([*usual, option])}]" if isinstance(usual, list) else f"{group}={option}"


def _flat(node: Any, before: str = "") -> list[str]:
    if not isinstance(node, Mapping):
        return [before]
    inner = [key for name, value in node.items() for key in _flat(value, f"{before}.{name}" if before else str(name))]
    return [before, *inner] if before else inner
