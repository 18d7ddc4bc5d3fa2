"""Whatever fails as a file or folder is written, the old content stays and nothing else is left."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from dlcpose.structures.atomic_files import (
    HOST,
    SYSTEM,
    atomic_folder,
    atomic_output,
    atomic_path,
    check_writable,
    leftovers,
    write_atomic,
)
from dlcpose.structures.errors import DataError


def fails(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_place_that_cannot_be_written_is_told_with_the_option_that_gave_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "within"):
        with pytest.raises(DataError, match="--review"):
            check_writable(folder, "--review")
    check_writable(tmp_path / "new" / "within")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_content_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    for content in (b"first", "zwölf"):
        write_atomic(path, content)
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert list(path.parent.iterdir()) == [path]


def test_text_that_a_locale_could_not_decode_is_written_with_escapes(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.txt", "K\udcc3\udca4fig, Käfig")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "K\\udcc3\\udca4fig, Käfig"


@pytest.mark.parametrize(("owner", "step"), [(Path, "write_bytes"), (os, "fsync"), (Path, "replace")])
def test_a_failing_step_leaves_the_old_content(
    owner: Any, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    write_atomic(path, "old")
    monkeypatch.setattr(owner, step, fails)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(path, "new")
    monkeypatch.undo()
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", [".", "/"])
def test_a_path_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        write_atomic(Path(name), "x")
    assert caught.value.filename == name


def test_an_error_of_the_block_is_handed_on_as_it_is(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a.csv") as partial:
            partial.write_text("half")
            (tmp_path / "elsewhere.csv").read_text()

    with pytest.raises(FileNotFoundError) as caught:
        write()
    assert Path(caught.value.filename).name == "elsewhere.csv"
    assert not list(tmp_path.iterdir())


def test_temporaries_keep_the_suffix_and_are_never_shared(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.h5") as first, atomic_path(tmp_path / "a.h5") as second:
        assert first != second
        for partial in (first, second):
            partial.write_bytes(b"")
            assert partial.suffix == ".h5"
        assert set(leftovers(tmp_path / "a.h5")) == {first, second}


DEAD = 2**22 + 1  # above the largest number of a process on Linux


def left_by(folder: Path, owner: str, *, hours: float = 0.0, kind: str = "partial") -> Path:
    """A file that a process has left in a folder, so many hours ago."""
    folder.mkdir(exist_ok=True)
    path = folder / f".a.{owner}.0123abcd.{kind}.csv"
    path.write_text("half")
    os.utime(path, (time.time() - 3600 * hours,) * 2)
    return path


@pytest.mark.parametrize(
    ("system", "runs", "hours", "is_removed"),
    [
        (SYSTEM, False, 0, True),
        (SYSTEM, True, 99, False),
        ("feedbeef", False, 0, False),  # another container of this name, whose processes have numbers of their own
        ("feedbeef", True, 0, False),
        ("feedbeef", True, 99, True),
        (None, False, 0, False),  # of versions before
        (None, False, 99, True),
    ],
    ids=str,  # none with the number of a process, by which those who collect tests side by side would differ
)
def test_files_are_removed_once_nobody_writes_them(
    tmp_path: Path, system: str | None, runs: bool, hours: float, is_removed: bool
) -> None:
    owner = "-".join(part for part in (HOST, system, str(os.getpid() if runs else DEAD)) if part)
    left = left_by(tmp_path / "new", owner, hours=hours)
    elsewhere = left_by(tmp_path / "new", f"another{HOST}-{SYSTEM}-{DEAD}", hours=99)
    write_atomic(tmp_path / "new" / "a.csv", "whole")
    assert left.exists() != is_removed
    assert elsewhere.exists()


def test_a_folder_in_which_another_container_writes_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / f".data.{HOST}-feedbeef-{DEAD}.0123abcd.partial"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "1.png").write_text("new")
    os.utime(folder / "images", (0, 0))
    os.utime(folder, (0, 0))
    write_atomic(tmp_path / "a.csv", "whole")
    assert folder.exists()


def test_a_folder_that_another_container_is_replacing_is_not_put_back(tmp_path: Path) -> None:
    old = tmp_path / f".data.{HOST}-feedbeef-{DEAD}.0123abcd.old"
    old.mkdir()
    os.utime(old, (0, 0))  # its content is old, its name is new
    write_atomic(tmp_path / "a.csv", "whole")
    assert old.exists()


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    with atomic_folder(folder) as partial:
        (partial / "a").write_text("1")
        assert not folder.exists()
    assert (folder / "a").read_text() == "1"
    assert list(folder.parent.iterdir()) == [folder]


def test_an_error_within_a_folder_names_the_place_that_it_would_have_had(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught, atomic_folder(tmp_path / "data") as partial:
        raise DataError(f"{partial / 'a.png'}: cannot be written")
    assert str(caught.value) == f"{tmp_path / 'data' / 'a.png'}: cannot be written"


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_hdf5s_full_disk_is_one_reason(kind: type[Exception], tmp_path: Path) -> None:
    told = "flush failed (write failed: time = Mon\n, filename = 'x', errno = 28, error message = 'No space left', buf = 0x5)"
    with (
        pytest.raises(DataError, match=r"a\.h5: cannot be written \(No space left\)\."),
        atomic_output(tmp_path / "a.h5"),
    ):
        raise kind(told)
    with pytest.raises(RuntimeError, match="a bug"), atomic_output(tmp_path / "a.h5"):
        raise RuntimeError("a bug")


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_with_content_is_replaced_only_where_that_is_meant(replace: bool, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_atomic(folder / "old", "old")
    if replace:
        with atomic_folder(folder, replace=True) as partial:
            (partial / "new").write_text("new")
        assert [path.name for path in folder.iterdir()] == ["new"]
    else:
        with pytest.raises(DataError, match="data"), atomic_folder(folder):
            pass
        assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("step", ["block", "rename"])
def test_a_folder_that_fails_leaves_the_old_one(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    write_atomic(folder / "old", "old")
    rename = Path.rename

    def refuse_fresh(self: Path, target: Path) -> Path:
        return fails() or self if self.is_dir() and (self / "new").exists() else rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_fresh if step == "rename" else rename)

    def write() -> None:
        with atomic_folder(folder, replace=True) as partial:
            (partial / "new").write_text("half")
            if step == "block":
                fails()

    with pytest.raises(OSError, match="No space"):
        write()
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]
