"""`~` at the beginning of a path, which shells leave as it is in `--output=~/poses`."""

from pathlib import Path


def expand_home(path: Path | str) -> Path:
    """The path with `~` or `~user` as the home folder; as in a shell it stays as it is where there is no such user."""
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        return path
