"""Errors of users' input, which commands print as one line without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from dlcpose.structures.printable import printable

MAX_MESSAGE = 3_000


class DlcposeError(Exception):
    """An error that the user can fix. The message says what, where, expected, got, and what to do.

    It is one printable line, whatever names from files are in it.
    """

    def __str__(self) -> str:
        return printable(super().__str__(), max_length=MAX_MESSAGE)


class ConfigError(DlcposeError):
    """A config that names something unknown, or components that do not fit each other."""


class DataError(DlcposeError):
    """Labels, images or other files that are missing, broken, or not as expected."""


class CheckpointError(DlcposeError):
    """A checkpoint that cannot be read or written, or does not fit the model."""


class InputError(DataError, ValueError):
    """An argument of the wrong kind."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C, with one sentence on what is saved."""


@contextmanager
def explain_os_errors() -> Iterator[None]:
    """A context, or a decorator, that turns OSErrors into a DataError with the place and what to check."""
    try:
        yield
    except BrokenPipeError:  # no file: output that is no longer read, at which a command ends quietly
        raise
    except OSError as error:
        place = error.filename or "a file"
        raise DataError(
            f"{place}: {error.strerror or error}. Check the path, its permissions and the disk's room."
        ) from error
