"""One-line messages for mistakes in a config, with the nearest valid names; and how a command ends with one."""

import argparse
import contextlib
import difflib
import io
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlcpose.config.folders import CONF, group_names, option_names, user_config_folders
from dlcpose.config.sources import checked_loading
from dlcpose.structures.errors import DlcposeError, Stopped
from dlcpose.structures.printable import printable

# The extra that installs a plugin of Hydra's.
PLUGINS = {"tpe": "sweep", "joblib": "sweep", **dict.fromkeys(("ray", "submitit_slurm", "submitit_local"), "cluster")}


def explain(error: Exception, config_name: str, arguments: Sequence[str] | None = None) -> str | None:
    """The one-line message for a user's mistake, None for a bug. arguments: the overrides; the shell's unless given."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(error, DlcposeError):
        return _without_worker(str(error.args[0]) if error.args else "", type(error))
    if isinstance(error, (HydraException, OmegaConfBaseException)) or _was_raised_by_hydra(error):
        return _explain_composition(error, config_name, arguments)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}: line {mark.line + 1}, column {mark.column + 1}: {error.problem}. Correct this file."
    if isinstance(error, argparse.ArgumentError):
        return f"{error.argument_name or 'the command'}: {error.message}. --help lists what there is."
    if isinstance(error, OSError):
        place = error.filename or "a file"
        return f"{place}: {error.strerror or error}. Check the path, its permissions and the disk's room."
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, without importing it
        return f"trainer: {' '.join(str(error).split())}"
    return None


def fail(reason: str, code: int = 1) -> NoReturn:
    """End the program with one line on standard error."""
    print(f"dlcpose: {printable(reason)}", file=sys.stderr)
    raise SystemExit(code)


def stop(interrupt: KeyboardInterrupt) -> NoReturn:
    """End the program after Ctrl-C with one line that says what is saved."""
    saved = str(interrupt) if isinstance(interrupt, Stopped) else "What was finished is kept, and nothing half-written"
    fail(f"stopped. {saved}.", 130)


@contextlib.contextmanager
def output_may_be_closed() -> Iterator[None]:
    """Within it, output that is no longer read (`| head`) ends the program quietly, also what is still buffered."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        end_quietly()


def end_quietly() -> NoReturn:
    """End when the output has been closed (`| head`), and drop what is still buffered."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(141)  # as a program that the signal ended


def tolerate_output() -> None:
    """Let `print` never fail: characters that the encoding lacks are replaced, and closed outputs go to the null device.

    A finished run must not fail for a character; and where standard output is closed, the next file that is opened
    would get its number, and everything that libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def wants_traceback() -> bool:
    """Whether to show tracebacks: `--debug`, which is taken out of the arguments, or HYDRA_FULL_ERROR=1."""
    is_given = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    return is_given or os.environ.get("HYDRA_FULL_ERROR") == "1"


def _without_worker(text: str, kind: type[Exception]) -> str:
    """The message of an error that a data loader's worker has wrapped in its traceback."""
    if "Original Traceback" not in text:
        return text
    return text.rstrip().rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2]


def _was_raised_by_hydra(error: Exception) -> bool:
    """Hydra raises plain ValueErrors too; where the innermost frame is its own, it was the command line that was wrong.

    The same goes for Optuna's distributions, which refuse a bad search space.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    innermost = Path(frames[-1].filename)
    return Path(hydra.__file__).parent in innermost.parents or innermost.parts[-2:] == ("optuna", "distributions.py")


def _explain_composition(error: Exception, config_name: str, arguments: Sequence[str]) -> str:
    """The message for a config that Hydra cannot compose, with the nearest valid names."""
    text = " ".join(str(error).split())
    if match := re.search(r"Could not (?:find|load) '([\w/]+)/([\w.]+)'", text):
        group, option = match.groups()
        if group.startswith("hydra/") and option in PLUGINS:
            return f"{group}={option}: its plugin is not installed. Install dlcpose[{PLUGINS[option]}]."
        return f"{group}={option}: no such option. {_nearest(option, option_names(group, arguments))}"
    if match := re.search(r"Could not override '([\w/@.]+)'\.? ?(?:No match in the defaults list)", text):
        return f"{match[1]}: no such group. {_nearest(match[1], group_names())}"
    if match := re.search(r"Could not override '([\w.]+)'|Key '([\w.]+)' is not in struct", text):
        key = match[1] or match[2]
        if "." not in key:
            return f"{key}: no such group or key. {_nearest(key, group_names() + _keys(config_name, arguments))}"
        if choices := _choices_having(key, config_name, arguments):
            return f"{key}: no such key in this config. It is one with {' or '.join(choices)}."
        return f"{key}: no such key in this config. {_nearest(key, _keys(config_name, arguments))}"
    if "must be a string or a list" in text:  # Hydra's message does not name it
        emptied = [argument.split("=")[0] for argument in arguments if re.fullmatch(r"[\w/]+=(null|\d+)", argument)]
        group = next((name for name in emptied if name in group_names()), "a group")
        return f"{group}: expected the name of an option. There are: {', '.join(option_names(group)) or 'none'}."
    if match := re.search(r"Could not append.*?'([\w./]+)'", text):
        return f"{match[1]}: it is there already, write it without the +."
    return text


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
    chosen = [
        argument for argument in chosen if argument.split("=")[0] in group_names() and not several.search(argument)
    ]
    chosen += [f"hydra.searchpath=[file://{folder}]" for folder in user_config_folders(arguments)]
    GlobalHydra.instance().clear()
    with checked_loading(chosen), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = hydra.compose(config_name, chosen)
        except (HydraException, OmegaConfBaseException, DlcposeError):  # the chosen options do not compose themselves
            config = hydra.compose(config_name)
    return _dotted_keys(OmegaConf.to_container(config))


def _choices_having(key: str, config_name: str, arguments: Sequence[str]) -> list[str]:
    """The choices of a key's group with which the config has that key, as they are written in a command."""
    found = []
    for group in _groups_of(key.split(".")[0]):
        others = [argument for argument in arguments if not argument.startswith(f"{group}=")]
        choices = [_choice(group, option, config_name) for option in option_names(group, arguments)]
        found += [choice for choice in choices if key in _keys(config_name, [*others, choice])]
    return found


def _groups_of(node: str) -> list[str]:
    """The groups whose options set a node of the config: that of its name, and those that say `# @package` of it."""
    line = f"# @package {node}\n"
    return [
        group
        for group in group_names()
        if group == node or any(path.read_text().startswith(line) for path in (CONF / group).glob("*.yaml"))
    ]


def _choice(group: str, option: str, config_name: str) -> str:
    """An option as it is written in a command: beside what is there already, where a group takes several."""
    defaults = yaml.safe_load((CONF / f"{config_name}.yaml").read_text())["defaults"]
    usual = next((entry[group] for entry in defaults if isinstance(entry, dict) and group in entry), None)
    return f"{group}=[{','.join([*usual, option])}]" if isinstance(usual, list) else f"{group}={option}"


def _dotted_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, Mapping):
        return [prefix]
    inner = [
        key for name, value in node.items() for key in _dotted_keys(value, f"{prefix}.{name}" if prefix else str(name))
    ]
    return [prefix, *inner] if prefix else inner
