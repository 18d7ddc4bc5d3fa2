"""Quote paths in overrides, where Hydra's grammar would misread them: `~`, `=`, commas, brackets, non-ASCII letters."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from dlcpose.structures.home_folder import expand_home

OVERRIDE = re.compile(r"(?P<key>\+{0,2}[\w/@.][\w/@.-]*)=(?P<value>.+)", re.DOTALL)
IN_PATHS = re.compile(f"[/~{re.escape(os.sep)}]")


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments with quotes around values that are paths, where the grammar needs them; `~` is the home folder.

    A value is a path where something lies at it, or where it has a slash and the grammar does not take it.
    """
    return [_quoted_path(argument) for argument in arguments]


def quoted(text: str) -> str:
    """A text in quotes and with escapes, so that Hydra's grammar reads it as it is."""
    return str(QuotedString(text=text, quote=Quote.single).with_quotes())


def _quoted_path(argument: str) -> str:
    option, equals, place = argument.partition("=")
    if option.startswith("-") and equals:  # of Hydra's own: no override, and never quoted
        return f"{option}={_expanded(place)}"
    match = OVERRIDE.fullmatch(argument)
    if match is None or match["value"][0] in "'\"" or not IN_PATHS.search(match["value"]):
        return argument
    value = match["value"]
    path = _expanded(value)
    is_meant = path == value and (
        _is_plain(argument, value) or (_parsed(argument) is not None and not _is_there(value))
    )
    if is_meant:
        return argument
    return f"{match['key']}={quoted(path)}"


def _expanded(path: str) -> str:
    return str(expand_home(path)) if path.startswith("~") else path


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _is_plain(argument: str, value: str) -> bool:
    """Whether the grammar reads a value as its plain text."""
    override = _parsed(argument)
    return override is not None and not override.is_sweep_override() and override.value() == value
