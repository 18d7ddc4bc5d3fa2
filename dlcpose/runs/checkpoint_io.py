"""Lightning's CheckpointIO with atomic writes."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dlcpose.structures.atomic_files import atomic_path
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.errors import CheckpointError


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints atomically.

    Lightning's own is written into the folder for temporary files and copied from there where that is another disk: a
    run killed meanwhile, or a disk that is full, leaves half a file in place of the last whole one.
    folder: where the run keeps its checkpoints; nothing else is ever removed, whatever a resumed state says.
    Raises CheckpointError where a file cannot be written, and what was there before stays; for one that cannot be read
    without running code; and for one to be removed that is no file of the run's.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        place = Path(path)
        try:
            with atomic_path(place) as partial, partial.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch raises the latter for a full disk
            kept = "The checkpoint that was there is kept" if place.is_file() else "No checkpoint was there before"
            raise CheckpointError(
                f"{place}: cannot be written ({_reason(error)}). {kept}. Check the disk's room and the folder's "
                "permissions, then go on with resume=last."
            ) from error

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a run's state, which may be untrusted, by the safe reader whatever options Lightning passes."""
        device = map_location if isinstance(map_location, str | torch.device) else "cpu"
        checkpoint = read_checkpoint_file(Path(path), device)
        if not isinstance(
            checkpoint.get("callbacks"), dict
        ):  # without these Lightning would let no callback look at it
            raise CheckpointError(
                f"{path}: holds no state of a run to go on with. Start a new run from its weights: init_from.checkpoint="
                f"{path} in place of resume."
            )
        return checkpoint

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a file that lies in the run's own folder of checkpoints."""
        place = Path(path)
        is_own = place.parent.resolve() == self.folder.resolve() and place.is_file() and not place.is_symlink()
        if not is_own:
            raise CheckpointError(
                f"{str(place)[:300]}: expected a checkpoint of this run to remove, a file in {self.folder}. It is kept."
            )
        place.unlink()


def _reason(error: BaseException) -> str:
    """The system's error message, which torch hides behind an error of its own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen.strerror or str(seen)
        seen = seen.__cause__ or seen.__context__
    return " ".join(str(error).split())[:200]
