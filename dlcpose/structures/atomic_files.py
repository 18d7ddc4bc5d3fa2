"""Write files and folders atomically: under their name lies the old content or the whole new one, never a part."""

import errno
import glob
import io
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dlcpose.structures.environment import is_running, system_identity
from dlcpose.structures.errors import DataError

HOST = re.sub(r"[^A-Za-z0-9]+", "_", platform.node())[:40] or "here"  # several machines may share a disk
SYSTEM = system_identity()
TEMPORARY = re.compile(
    rf"\.(?P<stem>.+)\.{HOST}-((?P<system>[0-9a-f]{{8}})-)?(?P<process>\d+)\.[0-9a-f]{{8}}\.(?P<kind>partial|old)"
    r"(?P<suffix>(\.[^.]+)?)"
)
ABANDONED = 24 * 3600  # seconds without a change, after which a file of another system of this name is nobody's
HDF5_REASON = re.compile(r"errno = \d+, error message = '([^']*)'")  # within what h5py raises, RuntimeErrors too
BLOCK = 2**20  # bytes
_looked_at: set[Path] = set()


def write_atomic(path: Path, content: bytes | memoryview | str) -> None:
    """Write `content` (text as UTF-8) to `path` atomically. Raises OSError, naming `path`, where that fails."""
    with atomic_path(path) as partial:
        partial.write_bytes(_as_bytes(content))


def write_output(path: Path, content: bytes | memoryview | str) -> None:
    """`write_atomic` for an output of a command: raises DataError where it cannot be written.

    HDF5 does not always report a full disk, and may crash when it closes such a file: libraries that build HDF5 files
    build them in memory where they can, and the bytes are written here.
    """
    with atomic_output(path) as partial:
        partial.write_bytes(_as_bytes(content))


def _as_bytes(content: bytes | memoryview | str) -> bytes | memoryview:
    """Text as UTF-8; a path that this locale cannot decode is written with escapes."""
    return content.encode(errors="backslashreplace") if isinstance(content, str) else content


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """`atomic_path` for an output of a command: raises DataError, in one line, where it cannot be written."""
    try:
        with atomic_path(path) as partial:
            yield partial
    except OSError as error:
        raise _unwritable(path, error) from error
    except RuntimeError as error:
        if HDF5_REASON.search(str(error)) is None:
            raise
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: Exception) -> DataError:
    said = getattr(error, "strerror", None) or str(error)
    of_hdf5 = HDF5_REASON.search(said)
    reason = of_hdf5[1] if of_hdf5 else said.partition("\n")[0]
    return DataError(f"{path}: cannot be written ({reason}). Check the disk's room and the folder's permissions.")


@contextmanager
def staged_files(folder: Path) -> Iterator[Path]:
    """A temporary folder within `folder`, made where it is missing, for files to be looked at before `move_into` it.

    It is removed at the end, with `folder` if that was missing and has got no file. Raises DataError, with the names that
    files would have had in `folder`, where one of them cannot be written.
    """
    staging = _beside(folder.absolute() / "staged")
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(folder.absolute())
            staging.mkdir()
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield staging
    except DataError as error:
        raise DataError(str(error).replace(str(staging), str(folder))) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):  # the first that is not empty
            for each in missing:
                each.rmdir()


def move_into(path: Path, fresh: Path) -> None:
    """Give a complete file of the same disk the name `path`. Raises DataError where that fails; what was there stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def check_writable(folder: Path, option: str = "--output") -> None:
    """Raises DataError, naming the option that gave it, where nothing can be written into a folder.

    Of one that is missing the nearest folder above has to take it; nothing is left there.
    """
    name = f".dlcpose-{secrets.token_hex(4)}.trial"
    try:
        trial = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists()) / name
        trial.write_bytes(b"")
        trial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: nothing can be written into this folder ({error.strerror or error}). Give another with {option}."
        ) from error


def check_room(path: Path, size: int) -> None:
    """Raises OSError where a file of `size` bytes cannot be written at `path`, where nothing is left.

    To be called before a library that builds HDF5 files on the disk alone: HDF5 crashes on a full one.
    """
    block = secrets.token_bytes(min(size, BLOCK))  # zeros take no room on a disk that compresses
    try:
        with path.open("wb") as file:
            for _ in range(-(-size // BLOCK)):
                file.write(block)
    finally:
        path.unlink(missing_ok=True)


class ForgivingFile(io.FileIO):
    """A file for h5py that lets HDF5 close it, as HDF5 crashes where a write fails: what cannot be written is dropped.

    error: what the first write that failed said, to be raised once h5py has closed the file.
    """

    error: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Write all of the content, or drop it."""
        view = memoryview(content).cast("B")
        written = 0
        while self.error is None and written < len(view):
            try:
                written += super().write(view[written:])
            except OSError as error:
                self.error = error
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length of the file, or leave it."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return 0 if size is None else size


def check_new_folder(folder: Path, option: str | None = None) -> None:
    """Raises DataError when `folder` is there already and is not empty. option: what names it in a command."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        another = "Name another" if option is None else f"Name another with {option},"
        raise DataError(f"{folder}: expected a new or empty folder to write into. {another} or empty it first.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which takes the name `path` once the block ends and is removed if it fails.

    It lies in the same folder, which is made where it is missing, and has the same suffix. What was written is flushed to
    the disk before the rename, else a power cut could leave the new name on an empty file.
    Raises OSError, naming `path`, where the file cannot be written; what was there before stays.
    """
    partial = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync(path.parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(partial), partial):
            raise _named(error, path) from error
        raise


def leftovers(path: Path) -> list[Path]:
    """Temporary files that killed processes have left beside a file."""
    return sorted(path.parent.glob(f".{glob.escape(path.stem)}.*.partial{glob.escape(path.suffix)}"))


@contextmanager
def atomic_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder to write into, which takes the name `folder` once the block ends and is removed if it fails.

    replace: replace an existing folder, which is missing only for the moment between two renames. Raises DataError
    where `folder` is there, is not empty and is not to be replaced; errors of what is written name it, too.
    """
    if not replace:
        check_new_folder(folder)
    partial = _beside(folder.absolute())
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.absolute().parent)
        partial.mkdir()
        yield partial
        _take_name(partial, folder.absolute())
        _sync(folder.absolute().parent)
    except DataError as error:
        raise DataError(str(error).replace(str(partial), str(folder))) from error
    except OSError as error:
        place = None if error.filename is None else Path(os.fsdecode(error.filename))
        if place is None or place == partial or partial in place.parents:
            within = Path() if place is None else place.relative_to(partial)
            raise _named(error, folder / within) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _named(error: OSError, path: Path) -> OSError:
    """The error with the final file name; errors of NumPy and others have neither a name nor a number."""
    return OSError(error.errno or errno.EIO, error.strerror or str(error) or "it cannot be written", str(path))


def _beside(path: Path, kind: str = "partial") -> Path:
    if not path.name:  # "." and "/"
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return path.with_name(f".{path.stem}.{HOST}-{SYSTEM}-{os.getpid()}.{secrets.token_hex(4)}.{kind}{path.suffix}")


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files that dead processes of this machine have left in a folder.

    Of a process that this system cannot ask for, since it is in another container of this name or from before a restart,
    they are left alone until nothing has changed in them for a day.
    A folder that was moved away for its replacement, by a process that was killed then, gets its name back. Each folder
    is checked once.
    """
    if folder in _looked_at:
        return
    _looked_at.add(folder)
    for path in folder.glob(f".*.{glob.escape(HOST)}-*"):
        match = TEMPORARY.fullmatch(path.name)
        if match is None or not _is_abandoned(path, match):
            continue
        with suppress(OSError):
            named = path.with_name(match["stem"] + match["suffix"])
            if match["kind"] == "old" and not named.exists():
                path.rename(named)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _is_abandoned(path: Path, match: re.Match[str]) -> bool:
    """Whether nobody needs a temporary file or folder any more."""
    if match["system"] == SYSTEM:
        return not is_running(int(match["process"]))
    try:
        within: Iterable[Path] = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
        changed = max(each.lstat().st_mtime for each in (path, *within))
        if match["kind"] == "old":
            changed = max(changed, path.lstat().st_ctime)  # when it got this name
    except OSError:  # it has just got its name, or been removed
        return False
    return time.time() - changed > ABANDONED


def _sync(folder: Path) -> None:
    """Make a rename last through a power cut, where the system lets a folder be synced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder
        return
    try:
        with suppress(OSError):  # some network file systems refuse it
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_name(fresh: Path, folder: Path) -> None:
    old = _beside(folder, "old")
    if folder.exists():
        folder.rename(old)  # a rename onto a folder is refused on Windows, and where it is not empty
    try:
        fresh.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
