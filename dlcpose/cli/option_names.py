"""Settings in messages by the names that they have in the shell: `--detector-every 3` in place of `detector_every=3`."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from dlcpose.structures.errors import DlcposeError

_OPTIONS: ContextVar[Mapping[str, str]] = ContextVar("options")


@contextmanager
def names_options(options: Mapping[str, str]) -> Iterator[None]:
    """Within it runs a command with these options, by the names of its parameters (`readers: --for`): errors name them."""
    before = _OPTIONS.set(options)
    try:
        yield
    except DlcposeError as error:
        error.args = tuple(as_options(str(each)) for each in error.args)
        raise
    finally:
        _OPTIONS.reset(before)


def as_options(message: str) -> str:
    """A message in which settings of the command that runs are options; outside of one it stays as it is.

    Settings are `name: ` at its beginning, `name=value`, and names that are no words (`detector_every`).
    """
    options = _OPTIONS.get({})
    if not options:
        return message
    names = "|".join(map(re.escape, options))
    unlike_words = "|".join(re.escape(name) for name in options if "_" in name) or r"(?!)"
    # What follows a dot, a slash or a quote is another setting (dataset.frames), a path or a value.
    setting = rf"(?<![^\s(])(?P<set>{names})=(?:\[(?P<several>[^\]\s]*)\])?"
    leading = rf"\A(?:tracking\.)?(?P<leading>{names})(?=: )"
    alone = rf"(?<![^\s(])(?P<alone>{unlike_words})(?=[\s,.:;)]|\Z)"
    return re.sub(f"{leading}|{setting}|{alone}", lambda found: _option(found, options), message)


def _option(found: re.Match[str], options: Mapping[str, str]) -> str:
    if (name := found["set"]) is None:
        return options[found["leading"] or found["alone"]]
    if found["several"] is None:
        return f"{options[name]} "
    return " ".join(f"{options[name]} {value}" for value in found["several"].split(","))
