"""A DeepLabCut project in Python: its frames, its split, and a torch data set of them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import albumentations
from torch.utils.data import Dataset

from dlcpose.datasets import splits
from dlcpose.datasets.crops import augment, keep_keypoints, whole
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.exporters.coco import coco_labels
from dlcpose.structures.atomic_files import write_atomic
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.sample import FrameLabels, PoseCrop
from dlcpose.structures.skeleton import Skeleton
from dlcpose.structures.split import Split

SPLITTERS: Mapping[str, Callable[..., Split]] = {
    "block": splits.block,
    "video": splits.video,
    "random": splits.random,
}
SETS = ("train", "val", "test")


class Project:
    """A DeepLabCut project: `proj_root` is the folder with config.yaml. Nothing in it is changed.

    Raises DataError when the project cannot be read.
    """

    def __init__(self, proj_root: str | Path, *, scorer: str | None = None) -> None:
        self.root = Path(proj_root)
        self.data = DeepLabCutFrames(self.root, scorer=scorer)
        self._split: Split | None = None

    @property
    def skeleton(self) -> Skeleton:
        """Keypoints, limbs and left/right pairs."""
        return self.data.skeleton

    @property
    def individuals(self) -> tuple[str, ...]:
        """Names of the animals."""
        return self.data.individuals

    @property
    def frames(self) -> tuple[FrameLabels, ...]:
        """The labels of every frame."""
        return tuple(self.data.frames)

    @property
    def split(self) -> Split:
        """The last split that was asked for; the default one if none was."""
        return self._split or self.train_test_split()

    def train_test_split(
        self, train_fraction: float = 0.8, *, by: str = "block", val_fraction: float = 0.0, seed: int = 0
    ) -> Split:
        """Frames to train on and to test with, remembered for `to_coco` and `PoseDataset`.

        train_fraction: what is not for test. val_fraction: of all frames, taken out of the train part.
        by: block (the end of each video is for test), video (whole videos), random, or stored (the project's own
        shuffle; train_fraction does not count then, val_fraction is one of its train part).
        Raises ConfigError for another `by` or fractions that leave nothing, DataError for a set that comes out empty.
        """
        if by == "stored":
            self._split = splits.stored(self.data, val=val_fraction, seed=seed)
        elif by in SPLITTERS:
            test_fraction = round(1 - train_fraction, 9)  # 1 - 0.8 is not quite 0.2
            self._split = SPLITTERS[by](self.data, val=val_fraction, test=test_fraction, seed=seed)
        else:
            raise ConfigError(f"Expected a split by one of {[*SPLITTERS, 'stored']}, got {by!r}.")
        return self._split

    def to_coco(self, path: str | Path | None = None, *, split: str | None = None) -> dict[str, Any]:
        """The labels in COCO's format, file names relative to the project; written to `path` where one is given.

        split: only the frames of "train", "val" or "test".
        """
        indices = range(len(self.data)) if split is None else self.indices(split)
        content = coco_labels(self.data, list(indices))
        if path is not None:
            write_atomic(Path(path), json.dumps(content))
        return content

    def indices(self, split: str) -> list[int]:
        """Places in `frames` of the frames of a set. Raises ConfigError for the name of no set, DataError if empty."""
        if split not in SETS:
            raise ConfigError(f"Expected one of {list(SETS)}, got {split!r}.")
        place = {frame.key: index for index, frame in enumerate(self.data.frames)}
        indices = [place[key] for key in self.split.as_dict()[split]]
        if not indices:
            raise DataError(
                f"{self.root}: the {split} set is empty. Call train_test_split with a larger fraction for it."
            )
        return indices


class PoseDataset(Dataset[PoseCrop]):
    """The frames of one of a project's sets, as crops that are the whole image; stack them with structures.batch.collate.

    transform: an albumentations Compose with keypoint_params=KeypointParams(format="xy"), or None. Left and right are
    swapped when it mirrors, and points that it moves out of the frame keep their place.
    mode: train, val or test, of the split that `project.train_test_split` made.
    """

    def __init__(self, project: Project, transform: albumentations.Compose | None = None, mode: str = "train") -> None:
        self.project = project
        self.transform = None if transform is None else keep_keypoints(transform)
        self.mode = mode
        self._indices = project.indices(mode)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> PoseCrop:
        crop = whole(self.project.data[self._indices[index]])
        return crop if self.transform is None else augment(crop, self.transform, self.project.skeleton)
