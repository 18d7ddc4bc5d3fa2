"""Find the reader that can open a path: DeepLabCut's, COCO's, SLEAP's and Lightning Pose's labels, and what plugins bring."""

from pathlib import Path

from dlcpose.datasets.base import LabeledFrames
from dlcpose.structures.errors import DataError
from dlcpose.structures.registry import Registry

READERS: Registry[type[LabeledFrames]] = Registry(
    "dlcpose.readers",
    tuple(f"dlcpose.datasets.{name}" for name in ("deeplabcut", "coco", "sleap", "lightning_pose")),
)
reader = READERS.register


def open_data(path: Path, *, follow_links: bool = False) -> LabeledFrames:
    """The labeled frames at a path, by the first reader that can open it. Raises DataError where none can.

    follow_links: also read files that names or links take from outside of the data's folder.
    """
    if not path.exists():
        raise DataError(f"{path}: expected a data set, got nothing at this path. Correct the path.")
    readers = READERS.load().values()
    for each in readers:
        if each.can_open(path):
            # A plugin's reader need not know of links: it is given `follow_links` only where that is set.
            return each.open(path, follow_links=True) if follow_links else each.open(path)
    raise DataError(f"{path}: expected {', '.join(each.opens for each in readers)}; got none of these.")
