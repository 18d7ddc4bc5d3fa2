"""One-line messages for a user's mistakes, and how a command ends with one."""

import argparse
import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
import yaml
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from dlcpose.config.folders import group_names, option_names
from dlcpose.config.unknown_names import explain_option_as_value, explain_unknown_name
from dlcpose.structures.errors import ConfigError, DlcposeError, Stopped
from dlcpose.structures.interrupts import received
from dlcpose.structures.printable import PRINTABLE_RECORDS, printable


def explain(error: Exception, config_name: str, arguments: Sequence[str] | None = None) -> str | None:
    """The one-line message for a user's mistake, None for a bug. arguments: the overrides; the shell's unless given."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(error, ConfigError) and (reason := explain_option_as_value(config_name, arguments)):
        return reason
    if isinstance(error, DlcposeError):
        return _without_worker(str(error.args[0]) if error.args else "", type(error))
    if isinstance(error, OverrideParseException):
        return _explain_unreadable(error.override, config_name, arguments)
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
    """End the program after Ctrl-C, or a signal like it, with one line that says what is saved."""
    saved = str(interrupt) if isinstance(interrupt, Stopped) else "What was finished is kept, and nothing half-written"
    fail(f"stopped. {saved}.", 128 + received())


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

    A finished run must not fail for a character, and a warning must not act on the terminal by one; where standard output is
    closed, the next file that is opened would get its number, and everything that libraries print.
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
    if logging.lastResort is not None:  # what shows warnings where nobody has set up logging
        logging.lastResort.addFilter(PRINTABLE_RECORDS)


def log_printably() -> None:
    """Let the handlers that are set up, such as Hydra's, show names from files without control characters."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(PRINTABLE_RECORDS)


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


def _explain_unreadable(override: str, config_name: str, arguments: Sequence[str]) -> str:
    """The message for an override that Hydra's grammar does not take; its own names tokens, and not the override."""
    key, equals, _ = override.partition("=")
    if override.startswith("-"):
        return f"{override}: expected KEY=VALUE, got an option, which only the shell takes."
    if not equals:
        return f"{override}: expected KEY=VALUE, got no `=`. {_where_it_belongs(override, config_name, arguments)}"
    return (
        f"{override}: {key} has a value that Hydra cannot read. Close its brackets, give the next key an argument of its "
        f"own, or put a text with `=`, commas or brackets in quotes, for the shell too: \"{key}='TEXT'\"."
    )


def _where_it_belongs(value: str, config_name: str, arguments: Sequence[str]) -> str:
    """How to write a value that has no key: after the groups that have it as an option, or what reads such a file."""
    if Path(value).suffix == ".ckpt":
        return f"Write {'init_from.checkpoint' if config_name == 'train' else 'checkpoint'}={value}."
    if Path(value).exists():
        if config_name == "predict":
            return f"Write video={value}."
        return f"A data set is dataset=deeplabcut dataset.root={value}, or another option of dataset."
    groups = [group for group in group_names() if value in option_names(group, arguments)]
    return f"Write {' or '.join([f'{group}={value}' for group in groups] or [f'{value}=VALUE'])}."


def _explain_composition(error: Exception, config_name: str, arguments: Sequence[str]) -> str:
    """The message for a config that Hydra cannot compose: the name that is unknown, or Hydra's own in one line."""
    if reason := explain_unknown_name(error, config_name, arguments):
        return reason
    return " ".join(str(error).split()) or " ".join(str(error.__cause__).split())  # an empty one wraps OmegaConf's
