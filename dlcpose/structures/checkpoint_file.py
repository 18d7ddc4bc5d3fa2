"""Read untrusted checkpoints: no code is run, and no more memory is taken than the file's length."""

import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlcpose.structures.bounded_pickle import check_unfolded
from dlcpose.structures.errors import CheckpointError
from dlcpose.structures.torch_pickle import check_pickle

PICKLE = "data.pkl"  # the entry with everything but the numbers of tensors
ZIP64_END = 98  # bytes at the end of an archive in the 64-bit format: its record of 56, a locator of 20, the end of 22


def read_checkpoint_file(path: str | Path, device: Any = "cpu", *, memory_map: bool = False) -> dict[str, Any]:
    """The content of a .ckpt: mappings, lists, numbers, texts and tensors.

    memory_map: tensors stay in the file until they are used. Raises CheckpointError for a file that is missing, is no
    checkpoint, holds objects, or expands to more than its length.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: {_not_a_file(path)}")
    try:
        check_sizes(path)
        content = torch.load(path, map_location=device, weights_only=True, mmap=memory_map or None)
        check_tensors(content, has_values=str(device) != "meta")
    except Exception as error:
        reason = str(error) if isinstance(error, _Oversized) else type(error).__name__
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint without running code ({reason}). Expected a .ckpt of a dlcpose run."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a .ckpt of a dlcpose run, got another program's checkpoint.")
    return content


def _not_a_file(path: Path) -> str:
    """What there is in place of a checkpoint, and which one lies near."""
    left = "A run leaves checkpoints/best.ckpt and last.ckpt in its folder."
    if not path.exists():
        return f"no such checkpoint. {left}"
    if not path.is_dir():
        return f"expected a checkpoint, got no regular file. {left}"
    near = [path / folder / name for name in ("best.ckpt", "last.ckpt") for folder in ("checkpoints", "")]
    found = next((each for each in near if each.is_file()), None)
    return f"expected a checkpoint, got a folder. {left if found is None else f'Give {found}.'}"


class _Oversized(Exception):
    """A file that states more content than it holds."""


def is_archive(path: Path) -> bool:
    """Whether torch takes a file for an archive; anything else it reads as one pickle after another."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def check_sizes(path: Path) -> None:
    """Refuse an archive that takes more memory or time than its length: torch reads it without a bound.

    torch writes no compressed or overlapping entries, which can expand to any size.
    """
    if not is_archive(path):
        raise _Oversized("it is no archive of torch")
    with zipfile.ZipFile(path) as archive:
        entries, directory = archive.infolist(), archive.start_dir
    if directory != _stated_directory(path):
        raise _Oversized("its list of entries lies elsewhere than it says")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise _Oversized(f"{entry.filename[:80]!r} in it is compressed")
    total, length = sum(entry.file_size for entry in entries), path.stat().st_size
    if total > length:
        raise _Oversized(f"it says that it holds {total} bytes and is {length} long")
    with zipfile.ZipFile(path) as archive:
        for entry in entries:
            if entry.filename.lower().endswith(PICKLE):  # torch looks for it in any case, and takes one of several
                check_pickle(archive.read(entry))


def _stated_directory(path: Path) -> int | None:
    """Where an archive says that its list of entries begins; None where two readers could take two lists for it.

    torch reads the list at this place, zipfile the one before the archive's end: the one that is checked has to be the one
    that is read. Source: PKWARE's APPNOTE 4.3.14 to 4.3.16.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - ZIP64_END))
        content = file.read()
    record, locator, end = content[:-42], content[-42:-22], content[-22:]
    if not end.startswith(b"PK\x05\x06"):  # a comment follows
        return None
    if not locator.startswith(b"PK\x06\x07"):
        return int(struct.unpack_from("<I", end, 16)[0])
    is_before = struct.unpack_from("<Q", locator, 8)[0] == size - ZIP64_END
    return int(struct.unpack_from("<Q", record, 48)[0]) if is_before else None


def check_tensors(content: Any, *, has_values: bool = True) -> None:
    """Refuse tensors that are larger than their storage, such as one repeated number, and what unfolds without end.

    has_values: whether values were read, too; then a tensor that the file itself says has none (`meta`) is refused.
    """
    try:
        check_unfolded(content)
    except ValueError as error:
        raise _Oversized(str(error)) from error
    for tensor in _tensors(content):
        if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.layout != torch.strided or tensor.is_quantized:
            raise _Oversized(f"a tensor in it is a {type(tensor).__name__} of {tensor.layout}")
        if tensor.device.type == "meta":
            if has_values:
                raise _Oversized(f"a tensor {tuple(tensor.shape)!s:.80} in it has no values")
        elif tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise _Oversized(f"a tensor {tuple(tensor.shape)!s:.80} in it is larger than its values")


def _tensors(content: Any) -> Iterator[Tensor]:
    """All tensors in nested mappings and lists; each container is visited once."""
    waiting, seen = [content], {id(content)}
    while waiting:
        node = waiting.pop()
        if isinstance(node, Tensor):
            yield node
        inner = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
        for value in inner:
            if isinstance(value, Tensor | Mapping | list | tuple) and id(value) not in seen:
                seen.add(id(value))
                waiting.append(value)
