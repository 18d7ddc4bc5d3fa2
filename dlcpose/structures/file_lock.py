"""One process at a time: a lock that ends with the process that holds it, however that ends."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlcpose.structures.errors import DataError

_held: set[Path] = set()  # by this process, whose own locks the system does not refuse it


@contextmanager
def alone(lock: Path, taken: Exception) -> Iterator[None]:
    """Hold the file `lock`, which is made and removed, within the context; raises `taken` where it is held already.

    A process that was killed holds nothing, nor do the workers that it has left. Where the disk or the system has no
    locks between processes, only this one's are seen.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    place = lock.absolute()
    if place in _held:
        raise taken
    with open(lock, "a", encoding="utf-8", opener=_opened) as file:
        if not _locked(file.fileno(), lock):
            raise taken
        _held.add(place)
        try:
            yield
        finally:
            _held.remove(place)
            is_removed = _removed(lock)  # while it is held, or it might be another's
    if not is_removed:  # on Windows, where no open file can be, and another's cannot be either
        _removed(lock)


def _opened(path: str, flags: int) -> int:
    """Open a lock, in a folder that may be somebody else's: no file elsewhere is made through a link, no pipe waited for.

    Raises DataError for what is no regular file.
    """
    found: OSError | None = None
    try:
        number = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):  # a link, and a pipe that nobody reads
            raise
        found = error
    else:
        if stat.S_ISREG(os.fstat(number).st_mode):
            return number
        os.close(number)
    raise DataError(
        f"{path}: expected no file, or the lock of another command, got a link, a pipe or a device. Remove it."
    ) from found


def _locked(number: int, path: Path) -> bool:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # the first byte, which need not be there
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)  # flock's would be inherited by workers
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a network disk without locks
        return True
    # Else who held it has just ended, and removed the file that was opened here.
    return path.exists() and path.stat().st_ino == os.fstat(number).st_ino


def _removed(lock: Path) -> bool:
    try:
        lock.unlink(missing_ok=True)
    except PermissionError:
        return False
    return True
