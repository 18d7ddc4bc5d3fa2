"""Print a line of a command's output."""

import typer

from dlcpose.structures.printable import printable

MAX_LENGTH = 100_000  # of a line: a list of frames or files is not cut off


def say(line: object, *, err: bool = False) -> None:
    """Print one line: names of files, videos and keypoints in it may be a stranger's. err: to standard error."""
    typer.echo(printable(line, max_length=MAX_LENGTH), err=err)
