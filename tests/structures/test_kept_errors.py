"""A file on a full disk reads as if all had been written, and tells the error when it is asked."""

import errno
import io
from pathlib import Path

import numpy as np
import pytest

from dlcpose.structures.kept_errors import KeptErrors


class FullDisk(io.FileIO):
    """A file that ends at its 100th byte; writes up to there are short, as the system's are."""

    def write(self, content: bytes | memoryview) -> int:  # type: ignore[override]
        room = 100 - self.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(memoryview(content)[:room])


@pytest.mark.parametrize("seed", range(20))
def test_what_no_longer_fits_is_read_as_it_was_written(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, reference = np.random.default_rng(seed), io.BytesIO()
    with KeptErrors(tmp_path / "file") as file:
        monkeypatch.setattr(file, "_file", FullDisk(tmp_path / "file", "w+b"))
        for _ in range(30):
            place, content = int(rng.integers(0, 150)), rng.bytes(int(rng.integers(1, 40)))
            for each in (file, reference):
                each.seek(place)
                assert each.write(content) == len(content)
            place, buffer, expected = int(rng.integers(0, 190)), bytearray(50), bytearray(50)
            for each, into in ((file, buffer), (reference, expected)):
                each.seek(place)
                each.readinto(into)
            assert buffer == expected
            assert file.seek(0, io.SEEK_END) == reference.seek(0, io.SEEK_END)
        with pytest.raises(OSError, match="No space left"):
            file.check()


def test_a_file_that_fits_is_on_the_disk_without_an_error(tmp_path: Path) -> None:
    with KeptErrors(tmp_path / "file") as file:
        assert (file.write(b"abc"), file.seek(1), file.write(b"x"), file.truncate(2)) == (3, 1, 1, 2)
        file.check()
    assert (tmp_path / "file").read_bytes() == b"ax"
