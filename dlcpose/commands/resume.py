"""Which checkpoint a run goes on from, and with which frames."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcpose.build import Parts
    from dlcpose.datasets.base import LabelledFrames
    from dlcpose.structures.split import Split


def checkpoint_to_resume(resume: str | None, run_dir: Path) -> Path | None:
    """The checkpoint a run goes on from: none, the one named, or for `last` the youngest of the runs of this name."""
    from dlcpose.structures.errors import CheckpointError

    if resume != "last":
        return None if resume is None else Path(resume)
    runs = run_dir.parents[1]  # run folders are <name>/<date>/<time>
    found = sorted(runs.glob("*/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(f"resume=last: no run below {runs} has left a checkpoint. Start without it.")
    return found[-1]


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
