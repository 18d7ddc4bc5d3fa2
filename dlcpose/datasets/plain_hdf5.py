"""Read untrusted HDF5 files: only bounded arrays and texts in the file itself, nothing external and no code."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from dlcpose.structures.errors import DataError

MAX_BYTES = 2**31  # of one array
MAX_CHUNK = 2**28
MAX_CHUNKS = 100_000
SMALL = 2**20  # bytes of an array that need not be stored
MAX_RATIO = 1100  # of bytes to those stored: deflate reaches 1032
MAX_TEXT = 2**26
MAX_TEXTS = 2**28  # bytes of all texts or lists of bytes in one array
OF_A_TEXT = 64  # bytes in memory beside its own
FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})  # HDF5's own and lzf: others would load plugins from folders


class PlainHdf5:
    """The contents of an open file, each checked before it is read.

    Raises DataError for links to elsewhere, external or virtual arrays, unknown filters, Python objects, references, and
    what is larger than allowed.
    """

    def __init__(self, file: Any, path: Path) -> None:
        self._file, self.path = file, path
        self._length = max(1, path.stat().st_size)

    def __contains__(self, name: str) -> bool:
        return self._member(name) is not None

    def dataset(self, name: str, max_bytes: int = MAX_BYTES) -> Any:
        """An array of the file that may be read: an h5py.Dataset."""
        found = self._member(name)
        if not isinstance(found, h5py.Dataset):
            raise self._refused(f"expected an array {name}, got none")
        if found.is_virtual or found.external:
            raise self._refused(f"the array {name} lies in other files")
        self._check_storage(found, name, max_bytes)
        self._check_type(found.dtype, name)
        return found

    def array(self, name: str, max_bytes: int = MAX_BYTES) -> Any:
        """A whole array of the file: an np.ndarray."""
        found = self.dataset(name, max_bytes)
        return self._texts(found, name) if found.dtype.hasobject and found.shape else found[()]

    def _texts(self, found: Any, name: str) -> Any:
        """An array of texts or lists of bytes, a few at a time: each may be as long as the file, and all the same one."""
        rows = MAX_TEXTS // self._length // max(1, found.size // max(1, len(found)))
        places: Iterable[Any] = np.ndindex(found.shape)
        if rows:
            places = (slice(start, start + rows) for start in range(0, len(found), rows))
        values, total = np.empty(found.shape, object), 0
        for place in places:
            values[place] = part = found[place]
            total += sum(len(each) + OF_A_TEXT for each in (part.flat if rows else [part]))
            if total > MAX_TEXTS:
                raise self._refused(f"the array {name} has texts of more than {MAX_TEXTS} bytes")
        return values

    def text(self, name: str, attribute: str, default: str | None = None) -> str:
        """A text that a group or an array of the file has as an attribute; the default, where there is one, if not."""
        value = self.attribute(name, attribute, default)
        if isinstance(value, np.ndarray | np.void):
            value = value.tobytes()
        return value.decode("utf-8").rstrip("\0") if isinstance(value, bytes) else str(value)

    def attribute(self, name: str, attribute: str, default: Any = None) -> Any:
        """An attribute of a group or an array; the default, where there is one, if it is absent."""
        owner = self._member(name)
        if owner is None or attribute not in owner.attrs:
            if default is not None:
                return default
            raise self._refused(f"expected an attribute {attribute} of {name}, got none")
        stored = h5py.h5a.open(owner.id, attribute.encode())
        if stored.get_storage_size() > MAX_TEXT:
            raise self._refused(f"the attribute {attribute} of {name} is larger than {MAX_TEXT} bytes")
        if stored.dtype.hasobject and h5py.check_string_dtype(stored.dtype) is None:
            raise self._refused(f"the attribute {attribute} of {name} holds objects")
        if stored.dtype.hasobject and (count := int(np.prod(stored.shape))) > 1 and count * self._length > MAX_TEXTS:
            raise self._refused(f"the attribute {attribute} of {name} may have texts of more than {MAX_TEXTS} bytes")
        return owner.attrs[attribute]

    def _member(self, name: str) -> Any:
        """The group or array at a path, None where there is none; every step of the way has to be the file's own.

        "/" is the file itself, as the owner of attributes.
        """
        found = self._file
        for step in name.strip("/").split("/") if name != "/" else ():
            if not isinstance(found, h5py.Group) or (link := found.get(step, getlink=True)) is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise self._refused(f"{name} is a link to elsewhere")
            found = found[step]
        return found

    def _check_storage(self, found: Any, name: str, max_bytes: int) -> None:
        size, chunk = (
            found.dtype.itemsize * int(np.prod([int(side) for side in sides], dtype=object)) if sides is not None else 0
            for sides in (found.shape, found.chunks)
        )
        if size > max_bytes or chunk > MAX_CHUNK:
            raise self._refused(f"the array {name} says that it holds {size} bytes, more than {max_bytes}")
        if chunk and size > chunk * MAX_CHUNKS:  # HDF5 takes kilobytes for each, also where nothing is stored
            raise self._refused(f"the array {name} is cut into more than {MAX_CHUNKS} chunks")
        if size > SMALL and size > (stored := found.id.get_storage_size()) * MAX_RATIO:
            raise self._refused(f"the array {name} says that it holds {size} bytes, and stores {stored}")
        creation = found.id.get_create_plist()
        filters = {creation.get_filter(place)[0] for place in range(creation.get_nfilters())}
        if not filters <= FILTERS:
            raise self._refused(f"the array {name} is packed by a plugin")

    def _check_type(self, dtype: Any, name: str) -> None:
        """Numbers, records of numbers, texts, and lists of bytes."""
        if not dtype.hasobject:
            return
        of_list = h5py.check_vlen_dtype(dtype)
        is_bytes = of_list is not None and np.dtype(of_list) in (np.dtype(np.int8), np.dtype(np.uint8))
        if h5py.check_string_dtype(dtype) is None and not is_bytes:
            raise self._refused(f"the array {name} holds objects")

    def _refused(self, reason: str) -> DataError:
        return DataError(f"{self.path}: cannot be read safely: {reason}. Save the file anew in the program it is from.")


@contextmanager
def plain_hdf5(path: Path, kind: str) -> Iterator[PlainHdf5]:
    """An HDF5 file to read. kind: what it should be, for errors.

    Raises DataError for what is no such file, whatever goes wrong while it is read.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected {kind}, got nothing at this path. Correct the path.")
    try:
        with h5py.File(path, "r") as file:
            yield PlainHdf5(file, path)
    except DataError:
        raise
    except (Exception, RecursionError, MemoryError) as error:  # h5py raises errors of any type for damaged files
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: expected {kind}, got a file that does not read ({type(error).__name__}: {reason})."
        ) from error
