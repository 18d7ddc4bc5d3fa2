"""A file to write by a library that cannot bear a full disk."""

import io
import os
from pathlib import Path


class KeptErrors(io.RawIOBase):
    """A new file whose first failing write is kept as `error`, while what is written from then on stays in memory.

    HDF5 crashes when it closes a file that it could not write. Whoever writes calls `check` often: memory grows after an
    error. Raises OSError where the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._at = 0
        self._size = 0
        self._unwritten: list[tuple[int, bytes]] = []  # (offset, content), later ones over earlier ones
        self.error: OSError | None = None

    def check(self) -> None:
        """Raises the error of the first write that failed, if one has."""
        if self.error is not None:
            raise self.error

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def write(self, content: bytes | memoryview) -> int:  # type: ignore[override]
        view, begin = memoryview(content).cast("B"), self._at
        while len(view) and self.error is None:
            try:
                self._file.seek(self._at)
                written = self._file.write(view)
            except OSError as error:
                self.error = error
                break
            self._at, view = self._at + written, view[written:]
        if len(view):
            self._unwritten.append((self._at, bytes(view)))
            self._at += len(view)
        self._size = max(self._size, self._at)
        return self._at - begin

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        into = memoryview(buffer).cast("B")
        count = max(0, min(len(into), self._size - self._at))
        self._file.seek(self._at)
        found = self._file.read(count)
        into[:count] = found + bytes(count - len(found))
        for offset, content in self._unwritten:
            begin, end = max(offset, self._at), min(offset + len(content), self._at + count)
            if begin < end:
                into[begin - self._at : end - self._at] = content[begin - offset : end - offset]
        self._at += count
        return count

    def truncate(self, size: int | None = None) -> int:
        self._size = self._at if size is None else size
        if self.error is None:
            try:
                self._file.truncate(self._size)
            except OSError as error:
                self.error = error
        return self._size

    def close(self) -> None:
        self._file.close()
        super().close()
