"""A DeepLabCut project in Python: its labeled frames, their split, and a torch Dataset of each set."""

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
from dlcpose.structures.atomic_files import write_output
from dlcpose.structures.checked_values import is_number, is_whole_number
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError, explain_os_errors
from dlcpose.structures.home_folder import expand_home
from dlcpose.structures.sample import FrameLabels, PoseCrop
from dlcpose.structures.skeleton import Skeleton
from dlcpose.structures.split import Split

SPLITTERS: Mapping[str, Callable[..., Split]] = {
    "block": splits.block,
    "video": splits.video,
    "random": splits.random,
}
SETS = ("train", "val", "test")
TRAIN_FRACTION = 0.8


class Project:
    """A DeepLabCut project, which is only read: `proj_root` is the folder with config.yaml, or that file.

    follow_links: also read files that links take from outside of that folder. shuffle: the number of the shuffle whose
    train and test frames are those of `split` and of `train_test_split(by="stored")`; by default the lowest. fraction: its
    TrainingFraction; by default the first of config.yaml.
    Raises DataError when the project cannot be read.
    """

    @explain_os_errors()
    def __init__(
        self,
        proj_root: str | Path,
        *,
        scorer: str | None = None,
        follow_links: bool = False,
        shuffle: int | None = None,
        fraction: float | None = None,
    ) -> None:
        self.data = DeepLabCutFrames(
            proj_root, scorer=scorer, follow_links=follow_links, shuffle=shuffle, fraction=fraction
        )
        self.root = self.data.root
        self._split: Split | None = None

    def __repr__(self) -> str:
        animals = f"animals {', '.join(self.individuals)}" if len(self.individuals) > 1 else "one animal"
        size = f"{counted(len(self.data), 'frame')}, {counted(len(self.skeleton), 'keypoint')}"
        return f"Project({str(self.root)!r}: {size}, {animals})"

    @property
    def skeleton(self) -> Skeleton:
        """Keypoints, edges and left/right pairs."""
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
        """The last split that train_test_split made; if there is none, that of the Project's shuffle or fraction, and
        where neither was given, the default one.
        """
        return self._split or self.train_test_split(by="stored" if self.data.split_settings else "block")

    def train_test_split(
        self, train_fraction: float | None = None, *, by: str = "block", val_fraction: float = 0.0, seed: int = 0
    ) -> Split:
        """A new split of the frames, kept for `to_coco` and `PoseDataset`.

        train_fraction: of all frames, those not in the test set; by default 0.8. val_fraction: of all frames, taken from
        the train set. by: block (the end of each video is the test set), video (whole videos), random, or stored (the
        project's own shuffle, which takes no train_fraction; val_fraction is a share of its train set).
        Raises ConfigError for another `by`, a wrong seed or fractions that leave nothing, DataError for an empty set.
        """
        if by == "stored" and train_fraction is not None:
            raise ConfigError(
                f"train_fraction={train_fraction}: by='stored' takes the train frames of the project's own shuffle. Leave "
                "it out, or choose the shuffle by Project(..., fraction=...)."
            )
        train_fraction = TRAIN_FRACTION if train_fraction is None else train_fraction
        _check_fractions(train_fraction, val_fraction, of_all=by != "stored")
        if not is_whole_number(seed, 0):
            raise ConfigError(f"seed: expected a whole number of 0 or more, got {seed!r}.")
        if by == "stored":
            self._split = splits.stored(self.data, val=val_fraction, seed=seed)
        elif isinstance(by, str) and by in SPLITTERS:
            if self.data.split_settings:
                raise ConfigError(
                    f"by={by!r}: {' and '.join(self.data.split_settings)} of the Project choose its own train and test "
                    "frames, which this split does not take. Choose by='stored', or open the Project without them."
                )
            test_fraction = round(1 - train_fraction, 9)  # 1 - 0.8 is not quite 0.2
            self._split = SPLITTERS[by](self.data, val=val_fraction, test=test_fraction, seed=seed)
        else:
            raise ConfigError(f"Expected a split by one of {[*SPLITTERS, 'stored']}, got {by!r}.")
        return self._split

    def to_coco(self, path: str | Path | None = None, *, split: str | None = None) -> dict[str, Any]:
        """The labels in COCO format, with file names relative to the project; also written to `path` where one is given.

        split: only the frames of "train", "val" or "test". Unlabeled frames are left out, with a warning: in COCO, an
        image without annotations has no animal.
        """
        places = {frame.key: index for index, frame in enumerate(self.data.frames)}
        labeled = [places[frame.key] for frame in splits.labeled_frames(self.data)]
        indices = labeled if split is None else self.indices(split)
        content = coco_labels(self.data, list(indices))
        if path is not None:
            write_output(expand_home(path), json.dumps(content))
        return content

    def indices(self, split: str) -> list[int]:
        """Indices into `frames` of a set. Raises ConfigError for an unknown set, DataError where it is empty."""
        if split not in SETS:
            raise ConfigError(f"Expected one of {list(SETS)}, got {split!r}.")
        place = {frame.key: index for index, frame in enumerate(self.data.frames)}
        indices = [place[key] for key in self.split.as_dict()[split]]
        if not indices:
            raise DataError(
                f"{self.root}: the {split} set is empty. Call train_test_split with a larger fraction for it."
            )
        return indices


def _check_fractions(train_fraction: float, val_fraction: float, *, of_all: bool) -> None:
    """Raises ConfigError, with the names that `train_test_split` has for them. of_all: both are fractions of all frames."""
    for name, value in (("train_fraction", train_fraction), ("val_fraction", val_fraction)):
        if not is_number(value) or not 0 <= value <= 1:
            raise ConfigError(f"{name}: expected a fraction from 0 to 1, got {value!r}.")
    if val_fraction >= (train_fraction if of_all else 1):
        raise ConfigError(
            f"train_fraction={train_fraction}, val_fraction={val_fraction}: the val set is taken from the train set, and "
            "these are to leave frames to train on. Raise the first or lower the second."
        )


class PoseDataset(Dataset[PoseCrop]):
    """The frames of one of a project's sets as PoseCrops of the whole image; `dlcpose.structures.batch.collate` makes
    batches of them.

    transform: an albumentations Compose with keypoint_params=KeypointParams(format="xy"), or None; of an image (H, W, 3)
    uint8 it makes another. Where it flips, left and right keypoints are swapped; keypoints that leave the image are kept.
    mode: train, val or test, of the split that `project.train_test_split` made.
    Raises ConfigError for what is no Project, no such mode, or a transform without keypoints.
    """

    def __init__(self, project: Project, transform: albumentations.Compose | None = None, mode: str = "train") -> None:
        if not isinstance(project, Project):
            raise ConfigError(
                f"project: expected a Project, got {project!r:.200}. Open its folder by dlcpose.Project(...)."
            )
        self.project = project
        self.transform = None if transform is None else keep_keypoints(transform)
        self.mode = mode
        self._indices = project.indices(mode)

    def __repr__(self) -> str:
        return f"PoseDataset({counted(len(self), f'{self.mode} frame')} of {str(self.project.root)!r})"

    def __len__(self) -> int:
        return len(self._indices)

    @explain_os_errors()
    def __getitem__(self, index: int) -> PoseCrop:
        crop = whole(self.project.data[self._indices[index]])
        return crop if self.transform is None else augment(crop, self.transform, self.project.skeleton)
