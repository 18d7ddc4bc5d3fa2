"""Read untrusted checkpoints: no code is run, and no more memory is taken than the file's length."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlcpose.structures.errors import CheckpointError

MAX_DEPTH = 50  # of mappings and lists in it; Lightning's own have less than ten


def read_checkpoint_file(path: str | Path, device: Any = "cpu", *, memory_map: bool = False) -> dict[str, Any]:
    """The content of a .ckpt: mappings, lists, numbers, texts and tensors.

    memory_map: tensors stay in the file until they are used. Raises CheckpointError for a file that is missing, is no
    checkpoint, holds objects, or expands to more than its length.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint. A run leaves checkpoints/best.ckpt and last.ckpt in its folder."
        )
    try:
        check_sizes(path)
        content = torch.load(path, map_location=device, weights_only=True, mmap=memory_map or None)
        check_tensors(content)
    except Exception as error:
        reason = str(error) if isinstance(error, _Oversized) else type(error).__name__
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint without running code ({reason}). Expected a .ckpt of a dlcpose run."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a .ckpt of a dlcpose run, got another program's checkpoint.")
    return content


class _Oversized(Exception):
    """A file that states more content than it holds."""


def check_sizes(path: Path) -> None:
    """Refuse an archive with compressed or overlapping entries: torch writes neither, and both can expand to any size."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise _Oversized(f"{entry.filename[:80]!r} in it is compressed")
    total, length = sum(entry.file_size for entry in entries), path.stat().st_size
    if total > length:
        raise _Oversized(f"it says that it holds {total} bytes and is {length} long")


def check_tensors(content: Any) -> None:
    """Refuse tensors that are larger than their storage, such as one repeated number."""
    for tensor in _tensors(content):
        if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.layout != torch.strided or tensor.is_quantized:
            raise _Oversized(f"a tensor in it is a {type(tensor).__name__} of {tensor.layout}")
        if tensor.device.type != "meta" and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise _Oversized(f"a tensor {tuple(tensor.shape)!s:.80} in it is larger than its values")


def _tensors(content: Any) -> Iterator[Tensor]:
    """All tensors in nested mappings and lists; each container is visited once."""
    waiting, seen = [(content, 0)], {id(content)}
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise _Oversized(f"it is nested deeper than {MAX_DEPTH}")
        if isinstance(node, Tensor):
            yield node
        inner = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
        for value in inner:
            if isinstance(value, Tensor | Mapping | list | tuple) and id(value) not in seen:
                seen.add(id(value))
                waiting.append((value, depth + 1))
