"""Mistakes that one line can explain: commands print them without a traceback."""


class DlcposeError(Exception):
    """Something the user can put right. The message says what, where, expected, got, and what to do."""


class ConfigError(DlcposeError):
    """A config that names something unknown, or parts that cannot work together."""


class DataError(DlcposeError):
    """Labels or images that are missing, broken, or not what was asked for."""


class CheckpointError(DlcposeError):
    """A checkpoint that cannot be read, or is not of the model that should load it."""
