"""Errors in a user's input, which commands print as one line without a traceback."""


class DlcposeError(Exception):
    """An error that the user can fix. The message says what, where, expected, got, and what to do."""


class ConfigError(DlcposeError):
    """A config that names something unknown, or components that do not fit each other."""


class DataError(DlcposeError):
    """Labels, images or other files that are missing, broken, or not as expected."""


class CheckpointError(DlcposeError):
    """A checkpoint that cannot be read or written, or does not fit the model."""
