"""Loggers that Lightning does not have as a run needs them."""
