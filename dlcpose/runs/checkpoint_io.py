"""Checkpoints that are there whole or not at all."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dlcpose.structures.atomic_files import atomic_path
from dlcpose.structures.errors import CheckpointError


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints atomically.

    Lightning's own is written into the folder for temporary files and copied from there where that is another disk: a
    run killed meanwhile, or a disk that is full, leaves half a file in place of the last whole one.
    Raises CheckpointError where it cannot be written; what was there before stays.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        place = Path(path)
        try:
            with atomic_path(place) as partial, partial.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch tells of a full disk by the latter
            kept = "The checkpoint that was there is kept" if place.is_file() else "No checkpoint was there before"
            raise CheckpointError(
                f"{place}: cannot be written ({_reason(error)}). {kept}. Check the disk's room and the folder's "
                "permissions, then go on with resume=last."
            ) from error


def _reason(error: BaseException) -> str:
    """What the system said, which torch hides behind an error of its own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen.strerror or str(seen)
        seen = seen.__cause__ or seen.__context__
    return " ".join(str(error).split())[:200]
