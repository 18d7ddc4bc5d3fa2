"""Which checkpoint a run goes on from, and with which frames."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcpose.build import Parts
    from dlcpose.datasets.base import LabelledFrames
    from dlcpose.structures.split import Split


LAST = Path("checkpoints") / "last.ckpt"  # within a run folder


def run_folder(fresh: str, resume: str | None) -> str:
    """Where a run leaves its files: a fresh folder, or that of the run it goes on from."""
    checkpoint = _youngest(Path(fresh)) if resume == "last" else Path(resume) if resume else None
    belongs_to_a_run = checkpoint is not None and checkpoint.parent.name == LAST.parent.name
    return str(checkpoint.parents[1]) if checkpoint is not None and belongs_to_a_run else fresh


def checkpoint_to_resume(resume: str | None, run_dir: Path) -> Path | None:
    """The checkpoint a run goes on from: none, the one named, or for `last` that of its own folder.

    Where its own folder was given and has none it is the youngest of the runs of this name.
    """
    from dlcpose.structures.errors import CheckpointError

    if resume != "last":
        return None if resume is None else Path(resume)
    found = run_dir / LAST if (run_dir / LAST).exists() else _youngest(run_dir)
    if found is None:
        raise CheckpointError(
            f"resume=last: no run below {run_dir.parents[1]} has left a checkpoint. Start without it."
        )
    return found


def _youngest(run_dir: Path) -> Path | None:
    """The checkpoint written last among the runs of a name, whose folders are <name>/<date>/<time>."""
    found = sorted(run_dir.parents[1].glob(f"*/*/{LAST}"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def split_of(config: dict[str, Any], parts: "Parts", data: "LabelledFrames", resumed: Path | None) -> "Split":
    """The split the config makes, or the very frames of the run that is resumed."""
    from dlcpose.checkpoint import read_checkpoint
    from dlcpose.structures.errors import DataError
    from dlcpose.structures.split import Split

    if resumed is None:
        made: Split = parts(config["split"], "split")(data)
        return made
    split = read_checkpoint(resumed).description.split
    here = {frame.key for frame in data.frames}
    gone = [key for key in (*split.train, *split.val, *split.test) if key not in here]
    if gone:
        raise DataError(
            f"resume={resumed}: {len(gone)} frames of that run are no longer in the data, such as {gone[0]}."
        )
    return split
